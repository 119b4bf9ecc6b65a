import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { InputError, messageOf } from '../errors.ts';
import { inspect as describe, inspectionPage, inspectionText } from '../inspect/index.ts';
import { makeFolder } from '../make-folder.ts';
import type { TerminalHost } from './terminal.ts';

/** Describes a model on a terminal, as JSON or as a page. Resolves with the exit code. */
export async function inspect(flags: ReadonlyMap<string, string>, host: TerminalHost): Promise<number> {
  const model = flags.get('model');
  if (!model) throw new InputError('Input "model" is missing; name the model, as in inspect model.onnx.');
  const top = Number(flags.get('top') ?? 15);
  if (!Number.isSafeInteger(top) || top < 0) {
    throw new InputError(`Input "top" is "${flags.get('top')}"; use a whole number, 0 or more.`);
  }
  const description = await describe(model, { dims: flags.get('dims'), top });
  const page = flags.get('page');
  if (page) await writePage(page, await inspectionPage(description), host);
  host.present(inspectionText(description), description);
  return 0;
}

async function writePage(file: string, html: string, host: TerminalHost): Promise<void> {
  try {
    makeFolder(path.dirname(path.resolve(file)));
    await writeFile(file, html);
  } catch (error) {
    throw new InputError(`The page ${file} cannot be written (${messageOf(error)}); name another file in --page.`, {
      cause: error,
    });
  }
  host.log.info(`The description is in ${file}.`);
}
