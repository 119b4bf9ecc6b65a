import { dynamic } from './dynamic/index.ts';
import type { Method } from './method.ts';
import { fp16, weightOnly } from './weights/index.ts';

/** The methods of this release, in the order in which people are told of them. To add one, add a folder and its line here. */
export const METHODS = [dynamic, weightOnly, fp16] as const;

type Built = (typeof METHODS)[number];

/** The settings that a method made, whichever it is; `method` says which. */
export type MethodSettings = {
  [Name in Built['name']]: { method: Name } & OwnOf<Extract<Built, { name: Name }>>;
}[Built['name']];

type OwnOf<M> = M extends Method<string, infer Own> ? Own : never;

/** The method that made these settings. */
export function methodOf({ method }: Pick<MethodSettings, 'method'>): Method<string, MethodSettings> {
  return METHODS.find(({ name }) => name === method)! as Method<string, MethodSettings>;
}
