export { type Folded, foldModel } from './fold.ts';
