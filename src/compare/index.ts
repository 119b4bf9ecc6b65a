/** The compare room: is a quantized model still like its reference, and is it faster? */
export { compare } from './compare.ts';
export type { Diagnosis, LayerError, Ranking } from './diagnosis/index.ts';
export type { Figures, OutputFigures } from './figures.ts';
export type { FigureName, Gate } from './gates.ts';
export { type HistoryEntry, readHistory } from './history.ts';
export { declaredBytes, type MemoryNeed, memoryNeed } from './memory.ts';
export type { Metric } from './metric.ts';
export type { AxisFigures, Channel } from './metrics/channels.ts';
export type { CompareContext, CompareFigures, CompareOptions, CompareResult, SideFigures } from './options.ts';
export { type Pace, type Score, type ScoreOptions, type Scorer, score, withScorer } from './score.ts';
export type { Speed } from './speed.ts';
export { readSubject, type Subject, samplesFor } from './subjects.ts';
