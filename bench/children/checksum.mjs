/** One run of the checksum room. Arguments: create or verify, the file, the manifest. */
import { createManifest, verifyManifest } from '../../lib/checksum/index.js';
import { silentLog } from '../../lib/receipt/index.js';

const [mode, file, manifest] = process.argv.slice(2);
const run = mode === 'create' ? createManifest : verifyManifest;
const result = await run({ path: mode === 'create' ? [file] : [], manifest }, { log: silentLog });
if (!result.verified) throw new Error(result.failures.join('\n'));
