import { bytes } from '../bytes.ts';
import { createManifest, verifyManifest } from '../checksum/index.ts';
import { InputError } from '../errors.ts';
import { readReceipt } from '../receipt/index.ts';
import { pipelineSummary } from '../report/index.ts';
import type { Action } from './host.ts';

/** `create` writes a manifest, `verify` checks files against it. */
export const checksum: Action<'checksum'> = async ({ mode, ...options }, context) => {
  if (mode === 'create' && options.path.length === 0) {
    throw new InputError('Input "path" is empty; name the files that the manifest is to list.');
  }
  const result = await (mode === 'create' ? createManifest : verifyManifest)(options, context);
  for (const warning of result.warnings) context.log.warning(warning);
  const title = mode === 'create' ? 'Manifest written' : result.verified ? 'Files verified' : 'Files differ';
  const amount = `${result.files.length} file${result.files.length === 1 ? '' : 's'}, ${bytes(result.bytes)}`;
  context.log.info(`${title}: ${result.manifest} (${amount} in ${(result.ms / 1000).toFixed(1)} s)`);
  return {
    outputs: {
      manifest: result.manifest,
      files: result.files.length,
      verified: result.verified,
      mismatched: result.mismatched,
      report: result.receipts,
    },
    summary: pipelineSummary(await Promise.all(result.receipts.map(readReceipt))),
    failures: result.failures,
  };
};
