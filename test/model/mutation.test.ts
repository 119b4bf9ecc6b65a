import { closeSync, ftruncateSync, openSync, readFileSync, writeFileSync, writeSync } from 'node:fs';
import path from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { InputError } from '../../src/errors.ts';
import {
  constantBehind,
  indexGraphs,
  layoutModel,
  type Model,
  orphanedBytes,
  readModel,
  usesBehind,
} from '../../src/model/index.ts';
import { realModels } from '../support/real-models.ts';
import { useTemp } from '../support/temp.ts';

/*
 * Published models, broken at random: whatever comes, reading ends soon, in a model or in an InputError of one
 * sentence, within the memory bound. FUZZ_RUNS=100000 FUZZ_SEED=… npx vitest run test/model/mutation.test.ts runs longer.
 */
const runs = Number(process.env.FUZZ_RUNS ?? 600);
const seed = process.env.FUZZ_SEED === undefined ? undefined : Number(process.env.FUZZ_SEED);
const MAX_MS = 10_000;
const MAX_GROWTH_BYTES = 512 * 2 ** 20;

const temp = useTemp();

/** Offsets are in [0, 1): the same mutation fits every model. */
type Mutation =
  | { kind: 'set'; at: number; bytes: Uint8Array }
  | { kind: 'flip'; at: number; bit: number }
  | { kind: 'cut'; at: number }
  | { kind: 'copy'; from: number; at: number; length: number };

const place = fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true });
const varints = fc.constantFrom(
  [0x00],
  [0x7f],
  [0xff, 0xff, 0xff, 0xff, 0x07],
  [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
  [0x0b],
  [0x0c],
);
const mutation: fc.Arbitrary<Mutation> = fc.oneof(
  fc.record({ kind: fc.constant('flip' as const), at: place, bit: fc.nat(7) }),
  fc.record({ kind: fc.constant('set' as const), at: place, bytes: fc.uint8Array({ minLength: 1, maxLength: 12 }) }),
  fc.record({ kind: fc.constant('set' as const), at: place, bytes: varints.map((bytes) => Uint8Array.from(bytes)) }),
  fc.record({ kind: fc.constant('copy' as const), from: place, at: place, length: fc.nat(64) }),
  fc.record({ kind: fc.constant('cut' as const), at: place }),
);

describe.each([
  ['ocrDirection', realModels.ocrDirection],
  ['speech16k', realModels.speech16k],
  ['speechHalf', realModels.speechHalf],
  ['speechIfless', realModels.speechIfless],
])('%s', (_, file) => {
  const original = readFileSync(file);
  let graphBytes: Uint32Array;
  let baseline = 0;

  beforeAll(async () => {
    graphBytes = offsetsOutsideTensors(await readModel(file));
    baseline = peakBytes();
  });

  afterAll(() => {
    expect(peakBytes() - baseline).toBeLessThan(MAX_GROWTH_BYTES);
  });

  test(`survives ${runs} mutations`, { timeout: Math.max(600_000, runs * 1000) }, async () => {
    const copy = path.join(temp(), 'mutated.onnx');
    writeFileSync(copy, original);
    const outcomes = { read: 0, refused: 0 };
    await fc.assert(
      fc.asyncProperty(fc.array(mutation, { minLength: 1, maxLength: 4 }), async (mutations) => {
        const restore = mutate(copy, original, mutations, graphBytes);
        try {
          const start = process.cpuUsage();
          outcomes[await readOrRefuse(copy)]++;
          // CPU time: what else the machine does is no fault of the reader.
          const { user, system } = process.cpuUsage(start);
          expect((user + system) / 1000).toBeLessThan(MAX_MS);
        } finally {
          restore();
        }
      }),
      { numRuns: runs, ...(seed === undefined ? {} : { seed }) },
    );
    expect(readFileSync(copy).equals(original)).toBe(true);
    // Both happen, or the mutations test nothing.
    expect(Math.min(outcomes.read, outcomes.refused)).toBeGreaterThan(runs / 100);
  });
});

async function readOrRefuse(file: string): Promise<'read' | 'refused'> {
  try {
    use(await readModel(file), file);
    return 'read';
  } catch (error) {
    expect(error).toBeInstanceOf(InputError);
    expect((error as InputError).message).toMatch(/^The [^\n]{1,2000}\.$/);
    return 'refused';
  }
}

/** What a caller does with a model that was read. */
function use(model: Model, file: string): void {
  const index = indexGraphs(model);
  for (const scope of [...index.scopes, ...index.functions]) {
    for (const node of scope.graph.node) for (const name of node.input) constantBehind(scope, name);
    for (const name of scope.constants.keys()) usesBehind(scope, name);
    scope.opset();
  }
  for (const { source, length } of model.tensors.values()) {
    if (source.kind === 'bytes') expect(source.bytes.length).toBe(length);
    else expect(source.offset + length).toBeLessThanOrEqual(model.size);
  }
  orphanedBytes(model);
  for (const external of ['never', 'always'] as const) {
    const layout = layoutModel(model, { output: `${file}.out`, external });
    for (const { segments, size } of [layout.graph(), ...(layout.data ? [layout.data] : [])]) {
      expect(segments.reduce((sum, { length }) => sum + length, 0)).toBe(size);
    }
  }
}

/** Bytes of weights say nothing about the reader: mutations go to the rest. */
function offsetsOutsideTensors(model: Model): Uint32Array {
  const inside = new Uint8Array(model.size);
  for (const { source } of model.tensors.values()) {
    if (source.kind === 'file') inside.fill(1, source.offset, source.offset + source.length);
  }
  return Uint32Array.from(inside.keys()).filter((offset) => inside[offset] === 0);
}

/** Changes the file in place and returns a function that changes it back. */
function mutate(file: string, original: Buffer, mutations: Mutation[], offsets: Uint32Array): () => void {
  const changed: { at: number; length: number }[] = [];
  let size = original.length;
  const at = (fraction: number) => offsets[Math.floor(fraction * offsets.length)]!;
  const handle = openSync(file, 'r+');
  const put = (offset: number, bytes: Uint8Array) => {
    const fitting = bytes.subarray(0, Math.max(0, original.length - offset));
    if (fitting.length > 0) writeSync(handle, fitting, 0, fitting.length, offset);
    changed.push({ at: offset, length: fitting.length });
  };
  for (const each of mutations) {
    if (each.kind === 'set') put(at(each.at), each.bytes);
    if (each.kind === 'flip') put(at(each.at), Uint8Array.of(original[at(each.at)]! ^ (1 << each.bit)));
    if (each.kind === 'copy') put(at(each.at), original.subarray(at(each.from), at(each.from) + each.length));
    if (each.kind === 'cut') size = Math.min(size, at(each.at));
  }
  if (size < original.length) ftruncateSync(handle, size);
  return () => {
    if (size < original.length) writeSync(handle, original, size, original.length - size, size);
    for (const { at, length } of changed) if (length > 0) writeSync(handle, original, at, length, at);
    closeSync(handle);
  };
}

/** Peak resident memory of this process, where the system tells it. */
function peakBytes(): number {
  if (process.platform !== 'linux') return 0;
  return Number(/VmHWM:\s*(\d+) kB/.exec(readFileSync('/proc/self/status', 'utf8'))![1]) * 1024;
}
