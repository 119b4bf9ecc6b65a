import { bytes } from '../../bytes.ts';
import { InputError } from '../../errors.ts';
import { graphBytes, type Model, operatorKey, walkNodes } from '../../model/index.ts';
import { methodOf } from '../methods/registry.ts';
import { operators } from '../operators.ts';
import type { Settings } from '../settings.ts';

/** What a run takes whatever the model, bytes: Node.js, two or three workers, blocks of the weights. */
const LEAST = 128 * 2 ** 20;
/** The same without the room that small graphs find in it. */
const BASE = 96 * 2 ** 20;
/** Bytes of memory for a byte of graph, old and new one, plan and receipt: the most that the benchmark sees. */
const PER_GRAPH_BYTE = 80;
/** The same for a node that may be rewritten: where names are short, its new form takes more than its bytes say. */
const PER_NODE = 8 * 2 ** 10;

/** What quantizing takes at most, bytes: it grows with the graph, not with the weights. */
export function quantizeMemory(model: Model, settings: Settings): number {
  const rewritten = [...walkNodes(model.proto)].filter((node) => operators.has(operatorKey(node))).length;
  return plannedMemory(graphBytes(model), rewritten) + (methodOf(settings).memory?.(settings, model) ?? 0);
}

/** The same for a graph of so many bytes and nodes of operators with weights, without what a method takes beside it. */
export function plannedMemory(graph: number, rewritten: number): number {
  return Math.max(LEAST, BASE + Math.max(PER_GRAPH_BYTE * graph, PER_NODE * rewritten));
}

/**
 * Refuses a graph that this machine cannot hold, before it is planned.
 *
 * @param available bytes of memory that can be had
 * @throws InputError with the figures. Small graphs are never refused: the system may make room for 128 MiB.
 */
export function assertHolds(model: Model, settings: Settings, available: number): void {
  const needed = quantizeMemory(model, settings);
  if (needed <= available || needed <= LEAST) return;
  throw new InputError(
    `Quantizing "${model.path}" takes up to ${bytes(needed)} of memory, because its graph has ${bytes(graphBytes(model))} without the weights, but ${bytes(available)} are available: free memory or use a larger machine.`,
  );
}
