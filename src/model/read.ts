import { closeSync, openSync } from 'node:fs';
import path from 'node:path';
import { InputError } from '../errors.ts';
import { decodeModel } from './decode.ts';
import { DataLocation } from './enums.ts';
import { externalData, externalRange, normalLocation } from './external.ts';
import { assertUnchanged, explainReadError, stampFile } from './stamp.ts';
import { locateTensors } from './tensors.ts';
import type { Model } from './types.ts';
import { walkTensors } from './walk.ts';
import { WireError, WireFile } from './wire.ts';

/** Protobuf messages end at 2 GiB. */
export const MAX_PROTOBUF_BYTES = 2 ** 31 - 1;

/**
 * Reads an ONNX model without its weights: the graph is decoded, and for each tensor it is noted where its bytes lie.
 * Takes memory for the graph only, whatever the size of the file or its external data.
 *
 * @throws InputError in one sentence if the file cannot be read, is not ONNX, is truncated, or if a tensor's bytes are
 * missing, outside the model's directory, or not as many as its dims and type need.
 */
export async function readModel(modelPath: string): Promise<Model> {
  const file = path.resolve(modelPath);
  const subject = `The model "${modelPath}"`;
  const stamp = stampFile(file, subject);
  if (stamp.size === 0) throw new InputError(`${subject} is empty: export or download it again.`);
  if (stamp.size > MAX_PROTOBUF_BYTES) {
    throw new InputError(
      `${subject} has ${stamp.size} bytes, but an ONNX graph file ends at 2 GiB: name the .onnx file, not its data.`,
    );
  }
  const descriptor = openOrExplain(file, subject);
  try {
    const wire = new WireFile(descriptor, stamp.size);
    const { proto, omitted } = decodeOrExplain(wire, subject);
    if (!proto.graph) throw new InputError(`${subject} is not an ONNX model: there is no graph in it.`);
    const external = externalData(file);
    const tensors = locateTensors(proto, { path: file, file: wire, omitted, external });
    const stamps = [stamp, ...external.files()];
    assertUnchanged(stamps);
    const externalFiles = external.files().map((each) => each.path);
    return { path: file, size: stamp.size, proto, tensors, omitted, externalFiles, stamps };
  } finally {
    closeSync(descriptor);
  }
}

/**
 * The files of a model: the graph file, then its external data files in order of location. Absolute paths.
 *
 * @throws InputError as `readModel` does.
 */
export async function modelFiles(modelPath: string): Promise<string[]> {
  const model = await readModel(modelPath);
  return [model.path, ...model.externalFiles];
}

/**
 * The locations that a graph file names, normalized but unchecked; none if the file is missing or no model, undefined if
 * it may not be read. For cleaning up, where a broken model must not be in the way.
 */
export function namedLocations(graphPath: string): string[] | undefined {
  const subject = `The model "${graphPath}"`;
  try {
    const { size } = stampFile(graphPath, subject);
    if (size > MAX_PROTOBUF_BYTES) return [];
    const descriptor = openOrExplain(graphPath, subject);
    try {
      const { proto } = decodeOrExplain(new WireFile(descriptor, size), subject);
      const tensors = [...walkTensors(proto)].filter(({ tensor }) => tensor.dataLocation === DataLocation.EXTERNAL);
      return [...new Set(tensors.map(({ tensor }) => normalLocation(externalRange(tensor, subject).location)))];
    } finally {
      closeSync(descriptor);
    }
  } catch (error) {
    if (!(error instanceof InputError)) throw error;
    return UNREADABLE.has((error.cause as NodeJS.ErrnoException | undefined)?.code ?? '') ? undefined : [];
  }
}

const UNREADABLE = new Set(['EACCES', 'EPERM', 'EIO', 'ESTALE']);

function openOrExplain(file: string, subject: string): number {
  try {
    return openSync(file, 'r');
  } catch (cause) {
    throw explainReadError(cause, subject);
  }
}

function decodeOrExplain(wire: WireFile, subject: string): ReturnType<typeof decodeModel> {
  const known = knownOtherFile(wire);
  if (known) throw new InputError(`${subject} is ${known}`);
  try {
    return decodeModel(wire);
  } catch (cause) {
    if (!(cause instanceof WireError)) throw explainIfSystem(cause, subject);
    // Every exporter begins with field 1, ir_version; only then is a file that ends too early likely a cut model.
    const begins = wire.size > 1 && wire.slice(0, 1)[0] === 0x08;
    if (cause.kind === 'too large') {
      throw new InputError(`${subject} is too large: ${cause.message}; store its lists as tensors.`, { cause });
    }
    if (cause.kind === 'truncated' && begins) {
      throw new InputError(`${subject} is truncated at ${wire.size} bytes: copy or download it again, whole.`, {
        cause,
      });
    }
    throw new InputError(`${subject} is not an ONNX model: at byte ${cause.offset} ${cause.message}.`, { cause });
  }
}

/** Files that people take for a model. */
function knownOtherFile(wire: WireFile): string | undefined {
  const head = Buffer.from(wire.slice(0, Math.min(wire.size, 64))).toString('latin1');
  if (head.startsWith('version https://git-lfs')) return 'a Git LFS pointer, not the model itself: run `git lfs pull`.';
  if (head.slice(4, 8) === 'ORTM') return 'in ORT format: name the .onnx file it was made from.';
  if (/^\s*<(!doctype|html|\?xml)/i.test(head)) return 'a web page, not an ONNX model: download it again.';
  if (head.startsWith('PK\x03\x04')) return 'a zip archive: unpack it and name the .onnx file inside.';
  return undefined;
}

/** Errors of reading are the user's to mend; anything else is a bug and stays what it is. */
function explainIfSystem(cause: unknown, subject: string): unknown {
  return cause instanceof Error && 'syscall' in cause ? explainReadError(cause, subject) : cause;
}
