import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import path from 'node:path';

export interface Comment {
  id: number;
  issue: number;
  user: { login: string };
  body: string;
}

export interface Issue {
  number: number;
  state: 'open' | 'closed';
  title: string;
  body: string;
}

/** GitHub's API of issues and comments, as far as our workflows use it. */
export interface GitHub {
  issues: Issue[];
  comments: Comment[];
  close(): void;
}

/**
 * Serves it on a Unix socket and makes that the only way of the GitHub CLI whose HOME is `home`: the real `gh` then
 * speaks to it as it would to api.github.com, paging and authorization included.
 */
export async function serveGitHub(home: string): Promise<GitHub> {
  const github: GitHub = { issues: [], comments: [], close: () => server.close() };
  const server = createServer(async (request, response) => {
    try {
      const answer = answerTo(github, request, await bodyOf(request));
      send(request, response, answer);
    } catch (error) {
      send(request, response, [500, { message: String(error) }]);
    }
  });
  const socket = path.join(home, 'github.sock');
  rmSync(socket, { force: true });
  const config = path.join(home, '.config', 'gh');
  mkdirSync(config, { recursive: true });
  writeFileSync(path.join(config, 'config.yml'), `version: "1"\nhttp_unix_socket: ${socket}\n`);
  await new Promise<void>((resolve) => server.listen(socket, resolve));
  return github;
}

/** Who writes with a run's own token. */
const BOT = 'github-actions[bot]';

type Answer = [status: number, body: unknown];

function answerTo({ issues, comments }: GitHub, request: IncomingMessage, body: Record<string, string>): Answer {
  if (request.headers.authorization !== 'token local') return [401, { message: 'Bad credentials' }];
  const { pathname, searchParams } = urlOf(request);
  const prefix = '/repos/example/sarai/issues';
  if (!pathname.startsWith(prefix)) return [404, { message: 'Not Found' }];
  const number = Number(/^\/(?:comments\/)?(\d+)/.exec(pathname.slice(prefix.length))?.[1]);
  switch (`${request.method} ${pathname.slice(prefix.length).replace(/\d+/, '#')}`) {
    case 'GET ': {
      const state = searchParams.get('state') ?? 'open';
      // The newest first, as there.
      return [200, issues.filter((issue) => issue.state === state).reverse()];
    }
    case 'POST ':
      issues.push({ number: issues.length + 1, state: 'open', title: String(body.title), body: String(body.body) });
      return [201, issues.at(-1)];
    case 'GET /#/comments':
      return [200, comments.filter(({ issue }) => issue === number)];
    case 'POST /#/comments':
      comments.push({ id: comments.length + 1, issue: number, user: { login: BOT }, body: String(body.body) });
      return [201, comments.at(-1)];
    case 'PATCH /comments/#': {
      const comment = comments.find(({ id }) => id === number);
      if (comment) comment.body = String(body.body);
      return comment ? [200, comment] : [404, { message: 'Not Found' }];
    }
    default:
      return [404, { message: 'Not Found' }];
  }
}

/** A list goes out by the page, 30 to a page unless asked, with a link to the next. */
function send(request: IncomingMessage, response: ServerResponse, [status, body]: Answer): void {
  let part = body;
  if (Array.isArray(body)) {
    const url = urlOf(request);
    const size = Math.min(100, Number(url.searchParams.get('per_page') ?? 30));
    const page = Number(url.searchParams.get('page') ?? 1);
    part = body.slice((page - 1) * size, page * size);
    if (page * size < body.length) {
      url.searchParams.set('page', String(page + 1));
      response.setHeader('link', `<${url.href}>; rel="next"`);
    }
  }
  response.writeHead(status, { 'content-type': 'application/json; charset=utf-8' }).end(JSON.stringify(part));
}

const urlOf = (request: IncomingMessage): URL => new URL(request.url ?? '', 'https://api.github.com');

async function bodyOf(request: IncomingMessage): Promise<Record<string, string>> {
  let text = '';
  for await (const part of request) text += part;
  return text === '' ? {} : JSON.parse(text);
}
