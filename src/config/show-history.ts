import path from 'node:path';
import { silentLog } from '../receipt/index.ts';
import { locateConfig, readConfig } from './live/files.ts';
import type { ConfigContext, LiveOptions } from './options.ts';
import { readHistory } from './states/history-file.ts';
import { modelKeys } from './states/keys.ts';
import { listingText, listStates, type StateListing } from './states/listing.ts';
import { observe } from './states/observe.ts';

/** Says what is live, where it can go from here, and which model files nothing needs. Locks and changes nothing. */
export async function showHistory(options: LiveOptions, context: ConfigContext = {}): Promise<StateListing> {
  const { log = silentLog, now = () => new Date() } = context;
  const projectRoot = path.resolve(options.projectRoot ?? '.');
  const live = await locateConfig(options.config, projectRoot);
  const bytes = await readConfig(live.file);
  const keys = modelKeys(bytes, live.file, options, log);
  const history = await readHistory(live.history, log, live.earlierHistory);
  const observed = await observe({ live, bytes, keys, history, projectRoot, now });
  const listing = await listStates(observed, { file: live.file, bytes }, options, projectRoot);
  for (const line of listingText(listing)) log.info(line);
  return listing;
}
