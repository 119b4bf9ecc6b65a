// A bundle of its own, because the cache client is as large as all the rest and most runs never need it.
import { isFeatureAvailable, restoreCache, saveCache } from '@actions/cache';

export const isAvailable = isFeatureAvailable;

/** Brings `folder` back as it was saved under `key`; false where there is nothing. */
export async function restore(folder: string, key: string): Promise<boolean> {
  return (await restoreCache([folder], key)) !== undefined;
}

export async function save(folder: string, key: string): Promise<void> {
  await saveCache([folder], key);
}
