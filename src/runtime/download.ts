import { createHash } from 'node:crypto';
import { createReadStream, createWriteStream } from 'node:fs';
import { rm } from 'node:fs/promises';
import path from 'node:path';
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
  /** How long it is: not a byte more is read, whatever is sent. */
  bytes: number;
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
    const { url: last, headers, body } = await ask(url, dispatcher, options);
    const length = Number(headers['content-length'] ?? tarball.bytes);
    if (length !== tarball.bytes) {
      body.on('error', () => undefined).destroy();
      throw new Error(`${last} gives ${length} bytes for a file of ${tarball.bytes}, which were not read`);
    }
    const hash = createHash('sha512');
    let done = 0;
    const meter = async function* (pieces: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
      for await (const piece of pieces) {
        done += piece.length;
        if (done > tarball.bytes) throw new OverlongError(`${last} gives more than ${tarball.bytes} bytes`);
        hash.update(piece);
        log.progress({ label: `download ${tarball.name}`, done, total: tarball.bytes, unit: 'bytes' });
        yield piece;
      }
    };
    await pipeline(body, meter, createWriteStream(file), { ...(signal ? { signal } : {}) }).catch((error: unknown) => {
      if (error instanceof OverlongError) throw error;
      throw new TransientError(`${last} broke off after ${done} bytes (${rootMessage(error)})`, { cause: error });
    });
    const found = `sha512-${hash.digest('base64')}`;
    if (found !== tarball.integrity) {
      throw new Error(`${last} has the digest ${found}, not the pinned ${tarball.integrity}, and was not unpacked`);
    }
  } finally {
    await dispatcher.destroy();
  }
}

/** More came than was pinned. */
class OverlongError extends Error {}

/** Mirrors send to where they keep their files; the registry's credentials stay with its host. */
const MOST_REDIRECTS = 5;

async function ask(
  first: URL,
  dispatcher: Dispatcher,
  { config, signal }: DownloadOptions,
): Promise<Dispatcher.ResponseData & { url: string }> {
  const { request } = await loadRunnerServices();
  let url = first;
  for (let redirects = 0; ; redirects++) {
    const authorization = url.origin === first.origin ? config.authorization : undefined;
    const response = await request(url, {
      dispatcher,
      headers: authorization ? { authorization } : {},
      ...(signal ? { signal } : {}),
    }).catch((error: unknown) => {
      throw new TransientError(`${url.host} does not answer (${rootMessage(error)})`, { cause: error });
    });
    const { statusCode, headers, body } = response;
    // What is signed into an address is a credential too.
    const shown = `${url.origin}${url.pathname}`;
    if (statusCode === 200) return Object.assign(response, { url: shown });
    body.on('error', () => undefined).destroy();
    const location = [headers.location].flat()[0];
    if (![301, 302, 303, 307, 308].includes(statusCode) || location === undefined || redirects === MOST_REDIRECTS) {
      const sentence = `${shown} answers ${statusCode}`;
      throw statusCode >= 500 || statusCode === 429 ? new TransientError(sentence) : new Error(sentence);
    }
    url = new URL(location, url);
    if (url.protocol !== first.protocol && url.protocol !== 'https:') {
      throw new Error(`${shown} sends to ${url.origin}, which is no https address`);
    }
    url.username = '';
    url.password = '';
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
  const gunzip = createGunzip();
  // An error of either side is the other's too, and ends the loop.
  const stream = createReadStream(file)
    .on('error', (error) => gunzip.destroy(error))
    .pipe(gunzip);
  for await (const { name, content } of readTar(stream, (entry) => isNeeded(entry, platform, arch))) {
    const destination = path.join(target, ...name.split('/').slice(1));
    makeFolder(path.dirname(destination));
    await pipeline(content, createWriteStream(destination));
  }
}

/** Clients wrap the reason, and keep it as a cause. */
function rootMessage(error: unknown): string {
  let cause = error;
  while (cause instanceof Error && cause.cause !== undefined) cause = cause.cause;
  return messageOf(cause) || String(cause);
}
