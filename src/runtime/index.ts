/** The runtime room: onnxruntime-node found, a model in a process of its own, samples for it, and what machine this is. */
export {
  bytesOfFeeds,
  declaredSize,
  ELEMENT_BYTES,
  elementCount,
  fromFloat16,
  isFloating,
  isNumeric,
  toFloat16,
  valueInfoOf,
  viewAs,
} from './dtype.ts';
export { environment, type Machine } from './environment.ts';
export { causeOf, combinedActivity, type HostActivity, QUOTA_SHARE } from './host-activity.ts';
export {
  FEWEST_FOR_MEDIAN,
  type Interval,
  medianInterval,
  percentileInterval,
  ratioOfMedians,
  type Standing,
  seededRandom,
  standing,
} from './intervals.ts';
export { type CacheService, type ResolveOptions, resolveRuntime } from './locate.ts';
export { availableMemory, memoryOf } from './memory.ts';
export { createObserver, edgesOf, type Observer } from './observe/observer.ts';
export type { Bins, Observed, Tap } from './observe/types.ts';
export type { GraphLevel, MeasureOptions, ObserveAnswer, OpenAnswer, OutputMode, RunAnswer } from './protocol.ts';
export { describeFeeds, generateFeeds, type Spell } from './samples/generate.ts';
export {
  assertNumeric,
  digestSamples,
  loadSamples,
  recipeOf,
  type SampleOptions,
  type Samples,
  type SettledInputs,
  TIMED_SAMPLES,
  timedFeeds,
} from './samples/index.ts';
export { npyHeader } from './samples/npy.ts';
export { givenShapes, parseDims } from './samples/options.ts';
export { makeScratch, withScratch } from './scratch.ts';
export {
  openSession,
  type PlacedNode,
  placeNodes,
  type RunOptions,
  type Session,
  type SessionHost,
  type SessionOptions,
  startHost,
  timeNodes,
  timingStatistics,
} from './session.ts';
export { coefficientOfVariation, mean, median, percentile, robustVariation } from './statistics.ts';
export * from './types.ts';
