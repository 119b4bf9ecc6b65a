import { bytes } from '../bytes.ts';
import { declaredOutputs } from '../model/index.ts';
import { assertFits, declaredBytes, memoryNeed } from './memory.ts';
import type { CompareContext } from './options.ts';
import { assertRoom } from './quality.ts';
import { spoolSpace } from './spool.ts';
import type { Side, Stage } from './stage.ts';
import type { Subject } from './subjects.ts';

/** What must fit into memory, and onto the disk of `folder`. */
export interface Load extends Required<Pick<CompareContext, 'log' | 'availableMemory'>> {
  subjects: Record<Side, Pick<Subject, 'model'>>;
  /** Symbolic sizes, by name. */
  sizes: ReadonlyMap<string, number>;
  /** Whether the reference has to be loaded at all. */
  runsReference: boolean;
  folder: string;
}

/** @returns whether both models fit at once. @throws InputError where one of them does not fit alone */
export async function fitsTogether({ subjects, sizes, runsReference, folder, ...context }: Load): Promise<boolean> {
  const outputBytes = declaredBytes(declaredOutputs(subjects.reference.model), sizes);
  await assertRoom(folder, outputBytes);
  // Outputs that are spooled to a file system in memory lie there as well.
  const spooled = (await spoolSpace(folder)).inMemory ? 2 * outputBytes : 0;
  const available = context.availableMemory() - spooled;
  const reference = memoryNeed(subjects.reference.model, outputBytes, sizes);
  const model = memoryNeed(subjects.model.model, outputBytes, sizes);
  if (runsReference) assertFits('reference', reference, available);
  assertFits('model', model, available);
  const together = !runsReference || reference.expected + model.expected <= available * 0.9;
  const figures = `${bytes(reference.expected)} for the reference and ${bytes(model.expected)} for the model, ${bytes(available)} available`;
  context.log.info(`Memory: about ${figures}; ${together ? 'both are loaded at once' : 'one is loaded at a time'}.`);
  return together;
}

/**
 * Holds the plan against what the first run has shown, before the second model is loaded: the real size of the outputs,
 * and memory of the reference beyond its prediction, such as intermediate results, which the model will take as well.
 */
export async function separateWhereTight(load: Load, stage: Stage, outputBytes: number): Promise<void> {
  const { subjects, sizes, runsReference, folder, log, availableMemory } = load;
  await assertRoom(folder, outputBytes);
  if (!stage.together || !runsReference) return;
  const seen = stage.peakBytes('reference') ?? 0;
  const beyond = Math.max(0, seen - memoryNeed(subjects.reference.model, outputBytes, sizes).expected);
  const expected = memoryNeed(subjects.model.model, outputBytes, sizes).expected + beyond;
  const available = availableMemory();
  if (expected <= available) return;
  log.info(
    `Memory: the model is expected to take ${bytes(expected)} and ${bytes(available)} are left; one is loaded at a time.`,
  );
  await stage.separate();
}
