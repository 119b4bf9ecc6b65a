import { createHash } from 'node:crypto';
import { createReadStream, readFileSync } from 'node:fs';
import path from 'node:path';
import { pipeline } from 'node:stream/promises';
import { getInput, info, setFailed } from '@actions/core';

try {
  const checksums = getInput('subject-checksums', { required: true });
  for (const line of readFileSync(checksums, 'utf8').split('\n').filter(Boolean)) {
    const [, expected, name] = /^([0-9a-f]{64}) [ *](.+)$/.exec(line) ?? [];
    if (!name) throw new Error(`${checksums} has a line that names no subject: ${line}`);
    const hash = createHash('sha256');
    await pipeline(createReadStream(path.join(path.dirname(checksums), name)), hash);
    const digest = hash.digest('hex');
    if (digest !== expected) throw new Error(`${name} is ${digest}, not ${expected}`);
    info(`Subject ${name} sha256:${digest}`);
  }
} catch (error) {
  setFailed(error);
}
