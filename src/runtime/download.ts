import { createHash } from 'node:crypto';
import { createReadStream, createWriteStream } from 'node:fs';
import { rm } from 'node:fs/promises';
import path from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { createGunzip } from 'node:zlib';
import type { Dispatcher } from 'undici';
import { loadRunnerServices } from '../entry.ts';
import { messageOf } from '../errors.ts';
import { makeFolder } from '../make-folder.ts';
import type { Log } from '../receipt/index.ts';
import type { NpmConfig } from './npm-config.ts';
import { readTar } from './tar.ts';
import { isNeeded } from './tree.ts';

export interface Tarball {
  name: string;
  version: string;
  /** Subresource integrity: `sha512-<base64>`. */
  integrity: string;
}

export interface DownloadOptions {
  config: NpmConfig;
  platform: string;
  arch: string;
  log: Log;
  signal?: AbortSignal;
  /** A connection that gives nothing for so long is dead. ms, default 30 000. */
  stallMs?: number;
  /** Waits between attempts, ms; default 1 and 3 seconds. */
  retryMs?: readonly number[];
}

/** Attempts are worth repeating after these. */
class TransientError extends Error {}

/**
 * Fetches a package from the registry, checks its SHA-512 and only then unpacks what this platform needs into
 * `<folder>/node_modules/<name>`. Rejects with the reason in a few words; the folder is the caller's to remove.
 */
export async function downloadPackage(tarball: Tarball, folder: string, options: DownloadOptions): Promise<void> {
  const file = path.join(folder, `${tarball.name}.tgz`);
  const waits = options.retryMs ?? [1000, 3000];
  makeFolder(folder);
  for (let attempt = 0; ; attempt++) {
    try {
      await fetchTarball(tarball, file, options);
      break;
    } catch (error) {
      const wait = waits[attempt];
      if (!(error instanceof TransientError) || wait === undefined) throw error;
      options.log.warning(`${messageOf(error)}; trying again in ${wait / 1000} s.`);
      await sleep(wait, undefined, options.signal ? { signal: options.signal } : {});
    }
  }
  await unpack(file, path.join(folder, 'node_modules', tarball.name), options);
  await rm(file);
}

/** Where every npm registry and mirror keeps a tarball. */
const tarballUrl = (registry: string, { name, version }: Tarball): URL =>
  new URL(`${name}/-/${name}-${version}.tgz`, registry);

async function fetchTarball(tarball: Tarball, file: string, options: DownloadOptions): Promise<void> {
  const { config, signal, log } = options;
  const url = tarballUrl(config.registry, tarball);
  const dispatcher = await dispatcherFor(url, options);
  try {
    log.info(`Downloading ${url.href}`);
    const { fetch } = await loadRunnerServices();
    const response = await fetch(url, {
      dispatcher,
      headers: config.authorization ? { authorization: config.authorization } : {},
      ...(signal ? { signal } : {}),
    }).catch((error: unknown) => {
      throw new TransientError(`${url.host} does not answer (${rootMessage(error)})`, { cause: error });
    });
    if (!response.ok || !response.body) {
      const sentence = `${url.href} answers ${response.status} ${response.statusText}`.trim();
      throw response.status >= 500 || response.status === 429 ? new TransientError(sentence) : new Error(sentence);
    }
    const hash = createHash('sha512');
    const total = Number(response.headers.get('content-length') ?? 0);
    let done = 0;
    const meter = async function* (pieces: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
      for await (const piece of pieces) {
        hash.update(piece);
        done += piece.length;
        log.progress({ label: `download ${tarball.name}`, done, total: Math.max(total, done), unit: 'bytes' });
        yield piece;
      }
    };
    await pipeline(Readable.fromWeb(response.body), meter, createWriteStream(file)).catch((error: unknown) => {
      throw new TransientError(`${url.href} broke off after ${done} bytes (${rootMessage(error)})`, { cause: error });
    });
    const found = `sha512-${hash.digest('base64')}`;
    if (found !== tarball.integrity) {
      throw new Error(`${url.href} has the digest ${found}, not the pinned ${tarball.integrity}, and was not unpacked`);
    }
  } finally {
    await dispatcher.destroy();
  }
}

async function dispatcherFor(url: URL, { config, stallMs = 30_000 }: DownloadOptions): Promise<Dispatcher> {
  const { Agent, ProxyAgent } = await loadRunnerServices();
  const timeouts = { headersTimeout: stallMs, bodyTimeout: stallMs, connect: { timeout: stallMs } };
  const proxy = config.proxyFor(url);
  return proxy ? new ProxyAgent({ uri: proxy, ...timeouts }) : new Agent(timeouts);
}

/** What `platform` and `arch` need of a package's tarball, into `target`. The digest was checked before. */
export async function unpack(
  file: string,
  target: string,
  { platform, arch }: Pick<DownloadOptions, 'platform' | 'arch'>,
): Promise<void> {
  const stream = createReadStream(file).pipe(createGunzip());
  for await (const { name, content } of readTar(stream, (entry) => isNeeded(entry, platform, arch))) {
    const destination = path.join(target, ...name.split('/').slice(1));
    makeFolder(path.dirname(destination));
    await pipeline(content, createWriteStream(destination));
  }
}

/** fetch says "fetch failed" and keeps the reason as a cause. */
function rootMessage(error: unknown): string {
  let cause = error;
  while (cause instanceof Error && cause.cause !== undefined) cause = cause.cause;
  return messageOf(cause) || String(cause);
}
