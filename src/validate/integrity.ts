import { stat } from 'node:fs/promises';
import path from 'node:path';
import { verifyManifest } from '../checksum/index.ts';
import { InputError, messageOf } from '../errors.ts';
import { digestFiles, type FileDigest, type Model, orphanedBytes, readModel } from '../model/index.ts';
import type { Check, ValidateContext, ValidateOptions } from './types.ts';

export interface Integrity {
  check: Check;
  /** Absent where the file is no model that can be read. */
  model?: Model;
  /** Graph file first, then its external data. */
  files: { path: string; digest: FileDigest }[];
  root: string;
}

/**
 * Structure, external data whole and inside the folder, no orphaned bytes, and the manifest when given. Reading the
 * model checks the first three; what it finds is this check's failure, not an error. `scratch` is a folder to drop files in.
 * @throws InputError when there is no such file at all
 */
export async function checkIntegrity(
  options: ValidateOptions,
  context: ValidateContext,
  scratch: string,
): Promise<Integrity> {
  const file = path.resolve(options.model);
  const kind = await stat(file).catch((error: unknown) => {
    throw new InputError(`model: ${options.model} cannot be read (${messageOf(error)}); name an ONNX file.`);
  });
  if (!kind.isFile()) throw new InputError(`model: ${options.model} is a folder; name the ONNX file in it.`);
  const check: Check = { name: 'integrity', status: 'pass', figures: [], failures: [], findings: [] };
  const model = await readOrExplain(options.model, check);
  if (model) noteOrphans(model, check);
  const paths = model ? [model.path, ...model.externalFiles] : [file];
  const { root, files } = await digestFiles(paths);
  if (options.manifest) await compareManifest(options.manifest, options, scratch, check, context);
  else check.findings.push('No manifest was given, so nothing says that these are the bytes that were meant.');
  if (check.failures.length > 0) check.status = 'fail';
  check.figures.push({ name: 'Files', value: paths.length, unit: '' });
  return {
    check,
    ...(model ? { model } : {}),
    files: paths.map((each, index) => ({ path: each, digest: files[index]! })),
    root,
  };
}

async function readOrExplain(file: string, check: Check): Promise<Model | undefined> {
  try {
    return await readModel(file);
  } catch (error) {
    if (!(error instanceof InputError)) throw error;
    check.failures.push(error.message);
    return undefined;
  }
}

function noteOrphans(model: Model, check: Check): void {
  for (const { path: file, bytes } of orphanedBytes(model)) {
    check.failures.push(
      `${path.basename(file)} holds ${bytes} bytes that no tensor uses, as a rerun that appended would leave: write the model again.`,
    );
  }
}

async function compareManifest(
  manifest: string,
  options: ValidateOptions,
  folder: string,
  check: Check,
  { log, signal }: ValidateContext,
): Promise<void> {
  // What is verified goes into the receipt of validate; the checksum room's own is thrown away with the folder.
  const { failures, files } = await verifyManifest(
    { path: [options.model], manifest, report: folder, threads: options.threads },
    { log, signal },
  );
  check.failures.push(...failures);
  check.figures.push({
    name: 'Files that match the manifest',
    value: files.filter(({ status }) => status === 'ok').length,
    unit: '',
  });
}
