import { readFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';

/** What npm is told about registries and proxies, as far as a download needs it. */
export interface NpmConfig {
  /** Ends with a slash. */
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
 */
export function readNpmConfig(env: NodeJS.ProcessEnv, cwd: string, registryUrl?: string): NpmConfig {
  const variables = lowerCaseKeys(env);
  const home = variables.get('userprofile') ?? variables.get('home') ?? os.homedir();
  const userFile = variables.get('npm_config_userconfig') ?? path.join(home, '.npmrc');
  const files = [path.join(cwd, '.npmrc'), userFile].map((file) => parseNpmrc(readOptional(file), env));
  const setting = (name: string): string | undefined =>
    variables.get(`npm_config_${name.replaceAll('-', '_')}`) || files.map((file) => file.get(name)).find(Boolean);
  const registry = withSlash(registryUrl || setting('registry') || PUBLIC_REGISTRY);
  const authorization = authorizationOf(registry, files);
  const httpsProxy = setting('https-proxy') ?? setting('proxy') ?? variables.get('https_proxy');
  const httpProxy = setting('proxy') ?? variables.get('http_proxy');
  const noProxy = setting('noproxy') ?? variables.get('no_proxy') ?? '';
  return {
    registry,
    ...(authorization ? { authorization } : {}),
    proxyFor(url) {
      if (excludedFromProxy(url.hostname, noProxy)) return undefined;
      const proxy = url.protocol === 'https:' ? httpsProxy : httpProxy;
      return proxy && proxy !== 'null' ? proxy : undefined;
    },
  };
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

const withSlash = (url: string): string => (url.endsWith('/') ? url : `${url}/`);

const lowerCaseKeys = (env: NodeJS.ProcessEnv): Map<string, string> =>
  new Map(Object.entries(env).flatMap(([name, value]) => (value === undefined ? [] : [[name.toLowerCase(), value]])));

function readOptional(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return ''; // Most people have none.
  }
}
