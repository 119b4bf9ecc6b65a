/** P50 of models run in turn, each in a session of its own. Arguments: runs, then models. Prints ms per model as JSON. */
import { openSession } from '../../lib/runtime/index.js';

const [runs, ...models] = process.argv.slice(2);
const sessions = [];
try {
  for (const model of models) sessions.push(await openSession({ model, provider: 'cpu' }));
  const codes = BigInt64Array.from({ length: 16 * 128 }, (_, i) => BigInt((i * 389) % 1024));
  const feeds = { audio_codes: { dtype: 'int64', dims: [1, 16, 128], data: new Uint8Array(codes.buffer) } };
  const times = models.map(() => []);
  for (let run = 0; run < Number(runs); run++) {
    for (const [i, session] of sessions.entries()) {
      const { ms } = await session.run(feeds);
      if (run >= 3) times[i].push(ms);
    }
  }
  console.log(JSON.stringify(times.map((each) => each.sort((a, b) => a - b)[each.length >> 1])));
} finally {
  for (const session of sessions) await session.close();
}
