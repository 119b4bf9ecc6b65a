export { type BlockGeometry, type BlockJob, type BlockPart, blockGeometry, WIDEST_BLOCK } from './block-geometry.ts';
export { computeParameters } from './compute-parameters.ts';
export { digestSources } from './digest-sources.ts';
export { Pool, type PoolOptions } from './pool.ts';
export type { StreamJob, StreamLayout, WeightJob, WeightParameters, WrittenFile } from './types.ts';
export { NonFiniteBlocks } from './write-blocks.ts';
export { FileWriter } from './write-files.ts';
