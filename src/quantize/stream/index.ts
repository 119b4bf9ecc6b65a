export { computeParameters } from './compute-parameters.ts';
export { digestSources } from './digest-sources.ts';
export { Pool, type PoolOptions } from './pool.ts';
export type { StreamJob, StreamLayout, WeightJob, WeightParameters, WrittenFile } from './types.ts';
export { FileWriter } from './write-files.ts';
