import { dynamic } from './dynamic/index.ts';
import { fp16 } from './half/index.ts';
import type { Method, Remarks } from './method.ts';
import { staticMethod } from './static/index.ts';
import { weightOnly } from './weights/index.ts';

/** The methods of this release, in the order in which people are told of them. To add one, add a folder and its line here. */
export const METHODS = [dynamic, staticMethod, weightOnly, fp16] as const;

type Built = (typeof METHODS)[number];

/** The settings that a method made, whichever it is; `method` says which. */
export type MethodSettings = {
  [Name in Built['name']]: { method: Name } & OwnOf<Extract<Built, { name: Name }>>;
}[Built['name']];

type OwnOf<M> = M extends { settings(options: never): infer Own } ? Own : never;

/** The method that made these settings. */
export function methodOf({ method }: Pick<MethodSettings, 'method'>): Method<string, MethodSettings, Remarks> {
  return METHODS.find(({ name }) => name === method)! as unknown as Method<string, MethodSettings, Remarks>;
}
