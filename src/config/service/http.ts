import http from 'node:http';
import https from 'node:https';
import { messageOf } from '../../errors.ts';
import { excerpt } from './text.ts';

/** What came back from asking for health. */
export interface Answer {
  ok: boolean;
  /** Half a sentence: what was answered, or what went wrong. */
  detail: string;
  body?: string;
}

/** More than any health answer has; a body that never ends must not fill the memory. */
const MOST_BYTES = 2 ** 20;

/**
 * Asks an address once. Whatever the other side does, this answers within `limitMs`: nothing is decompressed, no
 * redirect is followed, a body beyond 1 MiB is not read.
 * @param limitMs for connecting, head and body together
 */
export function askUrl(url: string, limitMs: number, stop: AbortSignal): Promise<Answer> {
  return new Promise((resolve) => {
    const end = (answer: Answer) => {
      clearTimeout(deadline);
      stop.removeEventListener('abort', stopped);
      request.destroy();
      resolve(answer);
    };
    const fail = (why: string) => end({ ok: false, detail: why });
    const deadline = setTimeout(() => fail(`no answer within ${Math.ceil(limitMs)} ms`), limitMs);
    const stopped = () => fail('it was not waited for');
    const { protocol } = new URL(url);
    const request = (protocol === 'https:' ? https : http).get(url, {
      agent: false, // A connection of its own: a service that has just restarted knows no old ones.
      headers: { accept: 'application/json', 'accept-encoding': 'identity', connection: 'close' },
    });
    // Stays for as long as the socket may speak, so that no late error is nobody's.
    request.on('error', (error) => fail(`no answer (${messageOf(error)})`));
    stop.addEventListener('abort', stopped);
    request.on('response', (response) => {
      const { statusCode = 0, headers } = response;
      const ok = statusCode >= 200 && statusCode < 300;
      const parts: Buffer[] = [];
      let size = 0;
      response.on('error', (error) => fail(`HTTP ${statusCode}, and the answer broke off (${messageOf(error)})`));
      const encoding = headers['content-encoding'] ?? 'identity';
      if (encoding !== 'identity') {
        fail(`HTTP ${statusCode}, encoded as '${excerpt(encoding)}' although nothing but plain text was asked for`);
        return;
      }
      if (statusCode >= 300 && statusCode < 400) {
        fail(`HTTP ${statusCode}, a redirect, which is not followed: give the address that answers itself`);
        return;
      }
      response.on('data', (bytes: Buffer) => {
        parts.push(bytes);
        size += bytes.length;
        if (size > MOST_BYTES) fail(`HTTP ${statusCode} with more than 1 MiB, which is no health answer`);
      });
      response.on('aborted', () => fail(`HTTP ${statusCode}, and the answer broke off`));
      response.on('end', () => {
        const body = Buffer.concat(parts).toString('utf8');
        const said = ok || body === '' ? '' : `: ${excerpt(body)}`;
        end({ ok, detail: `HTTP ${statusCode}${said}`, body });
      });
    });
  });
}
