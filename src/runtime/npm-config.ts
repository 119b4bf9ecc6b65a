import os from 'node:os';
import path from 'node:path';
import { InputError } from '../errors.ts';
import { readRegularFile } from '../read-file.ts';

/** What npm is told about registries and proxies, as far as a download needs it. */
export interface NpmConfig {
  /** Ends with a slash; holds no credentials. */
  registry: string;
  /** Value of the Authorization header for the registry. */
  authorization?: string;
  /** Proxy for an address, honouring no_proxy. */
  proxyFor(url: URL): string | undefined;
}

const PUBLIC_REGISTRY = 'https://registry.npmjs.org/';

/**
 * npm's own configuration, in npm's order: `npm_config_*` in the environment, `.npmrc` of the working directory, then the
 * user's. `registryUrl` overrules the registry. Proxies also come from HTTPS_PROXY, HTTP_PROXY and NO_PROXY.
 *
 * The working directory may be a checkout of somebody's: its `.npmrc` may name a registry, literally, and nothing else,
 * and the user's credentials go to a registry that it names over https only.
 * @throws InputError where the registry is no address
 */
export async function readNpmConfig(env: NodeJS.ProcessEnv, cwd: string, registryUrl?: string): Promise<NpmConfig> {
  const variables = lowerCaseKeys(env);
  const home = variables.get('userprofile') ?? variables.get('home') ?? os.homedir();
  const userFile = variables.get('npm_config_userconfig') ?? path.join(home, '.npmrc');
  const user = parseNpmrc(await readOptional(userFile), env);
  const setting = (name: string): string | undefined =>
    variables.get(`npm_config_${name.replaceAll('-', '_')}`) || user.get(name) || undefined;
  const own = registryUrl || variables.get('npm_config_registry');
  const project = own ? undefined : parseNpmrc(await readOptional(path.join(cwd, '.npmrc')), {}).get('registry');
  const address = registryOf(own || project || user.get('registry') || PUBLIC_REGISTRY);
  const mayKnow = !project || address.url.protocol === 'https:';
  const authorization = address.authorization ?? (mayKnow ? authorizationOf(address.url.href, [user]) : undefined);
  const httpsProxy = setting('https-proxy') ?? setting('proxy') ?? variables.get('https_proxy');
  const httpProxy = setting('proxy') ?? variables.get('http_proxy');
  const noProxy = setting('noproxy') ?? variables.get('no_proxy') ?? '';
  return {
    registry: address.url.href,
    ...(authorization ? { authorization } : {}),
    proxyFor(url) {
      if (excludedFromProxy(url.hostname, noProxy)) return undefined;
      const proxy = url.protocol === 'https:' ? httpsProxy : httpProxy;
      return proxy && proxy !== 'null' ? proxy : undefined;
    },
  };
}

/** A registry's address without the name and password that may stand in it, and those as a header. */
function registryOf(text: string): { url: URL; authorization?: string } {
  const url = URL.canParse(text) ? new URL(text.endsWith('/') ? text : `${text}/`) : undefined;
  if (url?.protocol !== 'https:' && url?.protocol !== 'http:') {
    throw new InputError(
      "The npm registry (registry-url, or npm's configuration) is no http or https address: mend it.",
    );
  }
  const { username, password } = url;
  if (username === '' && password === '') return { url };
  url.username = '';
  url.password = '';
  const pair = `${decodeURIComponent(username)}:${decodeURIComponent(password)}`;
  return { url, authorization: `Basic ${Buffer.from(pair).toString('base64')}` };
}

/** `key=value` lines; `${NAME}` stands for an environment variable, as npm has it. */
export function parseNpmrc(text: string, env: NodeJS.ProcessEnv): Map<string, string> {
  const settings = new Map<string, string>();
  for (const line of text.split(/\r?\n/)) {
    const match = /^\s*([^#;=\s][^=]*?)\s*=\s*(.*?)\s*$/.exec(line);
    if (!match) continue;
    const value = match[2]!
      .replace(/^(["'])(.*)\1$/, '$2')
      .replace(/\$\{([^}]+)\}/g, (whole, name) => env[name] ?? whole);
    settings.set(match[1]!, value);
  }
  return settings;
}

/** Credentials are kept by address without its scheme, `//host/path/:_authToken`, for that path and all below. */
function authorizationOf(registry: string, files: readonly Map<string, string>[]): string | undefined {
  const { host, pathname } = new URL(registry);
  const parts = pathname.split('/').filter(Boolean);
  for (let depth = parts.length; depth >= 0; depth--) {
    const prefix = `//${host}/${parts
      .slice(0, depth)
      .map((part) => `${part}/`)
      .join('')}:`;
    for (const file of files) {
      const token = file.get(`${prefix}_authToken`);
      if (token) return `Bearer ${token}`;
      const basic = file.get(`${prefix}_auth`);
      if (basic) return `Basic ${basic}`;
    }
  }
  return undefined;
}

/** Names in no_proxy stand for themselves and all below; `*` for everything. */
function excludedFromProxy(hostname: string, noProxy: string): boolean {
  return noProxy
    .split(/[,\s]+/)
    .filter(Boolean)
    .map((entry) =>
      entry
        .replace(/^\*?\./, '')
        .replace(/:\d+$/, '')
        .toLowerCase(),
    )
    .some((entry) => entry === '*' || hostname === entry || hostname.endsWith(`.${entry}`));
}

const lowerCaseKeys = (env: NodeJS.ProcessEnv): Map<string, string> =>
  new Map(Object.entries(env).flatMap(([name, value]) => (value === undefined ? [] : [[name.toLowerCase(), value]])));

/** Most people have none, and what is no file is none. */
async function readOptional(file: string): Promise<string> {
  const bytes = await readRegularFile(file, "npm's configuration").catch(() => Buffer.alloc(0));
  return bytes.toString('utf8');
}
