import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { JobError, openPool, type Pool } from '../../src/checksum/pool.ts';
import { createRing } from '../../src/checksum/ring.ts';
import { CHUNK_BYTES } from '../../src/model/digest.ts';
import { sparseFile } from '../support/onnx-builder.ts';
import { useTemp } from '../support/temp.ts';

const temp = useTemp();

async function withPool<T>(pool: Pool, use: (pool: Pool) => Promise<T>): Promise<T> {
  try {
    return await use(pool);
  } finally {
    await pool.close();
  }
}

/** A pool whose threads run `source` (CommonJS) instead of ours. */
function poolOf(source: string): Pool {
  const script = path.join(temp(), 'thread.cjs');
  writeFileSync(script, source);
  return openPool({ threads: 2, script });
}

const range = { kind: 'range', path: '/none', offset: 0, length: 1 } as const;

describe('the pool', () => {
  it('gives the code of a system call that failed, and goes on', async () => {
    const file = path.join(temp(), 'file');
    writeFileSync(file, 'abc');
    await withPool(openPool({ threads: 1 }), async (pool) => {
      await expect(pool.run([range])).rejects.toMatchObject({ name: 'JobError', code: 'ENOENT' });
      await expect(pool.run([{ ...range, path: file, length: 9 }])).rejects.toMatchObject({ code: 'ESHORT' });
      const [{ sha256 }] = await pool.run([{ ...range, path: file, length: 3 }]);
      expect(sha256).toBe('ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad');
    });
  });

  it('frees the follower of a pair when the reader fails', async () => {
    const file = path.join(temp(), 'short');
    sparseFile(file, CHUNK_BYTES);
    const ring = createRing();
    const size = CHUNK_BYTES + 1;
    await withPool(openPool({ threads: 2 }), async (pool) => {
      const pair = pool.run([
        { kind: 'file', path: file, size, ring },
        { kind: 'follow', size, ring },
      ]);
      await expect(pair).rejects.toBeInstanceOf(JobError);
      await expect(pair).rejects.toMatchObject({ code: 'ESHORT' });
    });
  });

  it('rejects all that wait when a thread throws outside a job', async () => {
    const pool = poolOf(
      `require('node:worker_threads').parentPort.once('message', () => setImmediate(() => { throw new Error('boom'); }))`,
    );
    await withPool(pool, async () => {
      const jobs = [1, 2, 3].map(() => pool.run([range]));
      for (const job of jobs) await expect(job).rejects.toThrow('a checksum thread failed: boom');
      await expect(pool.run([range])).rejects.toThrow('boom');
    });
  });

  it('rejects all that wait when a thread ends', async () => {
    const pool = poolOf(`require('node:worker_threads').parentPort.once('message', () => process.exit(7))`);
    await withPool(pool, async () => {
      await expect(Promise.all([pool.run([range]), pool.run([range])])).rejects.toThrow('ended by itself with code 7');
    });
  });

  it('ends threads that never answer, on abort and on close', async () => {
    const source = `require('node:worker_threads').parentPort.once('message', () => { for (;;); })`;
    const script = path.join(temp(), 'thread.cjs');
    writeFileSync(script, source);
    const controller = new AbortController();
    const aborted = openPool({ threads: 1, script, signal: controller.signal });
    const job = aborted.run([range]);
    controller.abort(new Error('enough'));
    await expect(job).rejects.toThrow('enough');
    await aborted.close();
    const closed = poolOf(source);
    const other = closed.run([range]);
    await Promise.all([expect(other).rejects.toThrow('closed'), closed.close()]);
  });

  it('does not take more jobs at once than it has threads', async () => {
    await withPool(openPool({ threads: 1 }), async (pool) => {
      await expect(pool.run([range, range])).rejects.toThrow(RangeError);
    });
  });
});
