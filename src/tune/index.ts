/** The tune room: method `auto`, which quantizes a model in several ways, measures them here, and keeps the best that passes. */

export { type AutoContext, type AutoFindings, type AutoResult, auto, defaultOutput } from './auto.ts';
export { candidatesOf } from './candidates.ts';
export type { Trial } from './journal.ts';
export { AUTO_ONLY, type AutoOnly, type AutoOptions } from './options.ts';
