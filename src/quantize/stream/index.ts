export { type BlockGeometry, type BlockJob, type BlockPart, blockGeometry } from './block-geometry.ts';
export { computeParameters } from './compute-parameters.ts';
export { WIDEST_BLOCK } from './desk.ts';
export { digestSources } from './digest-sources.ts';
export { Pool, type PoolOptions } from './pool.ts';
export type { StreamJob, StreamLayout, WeightJob, WeightParameters, WrittenFile } from './types.ts';
export { NonFiniteBlocks } from './write-blocks.ts';
export { FileWriter } from './write-files.ts';
