import { bytes } from '../bytes.ts';
import type { Progress } from '../receipt/index.ts';

/** `quantizing 43 % (1.8 of 4.3 GB)`. */
export function progressLine({ label, done, total, unit }: Progress): string {
  const percent = total > 0 ? Math.min(100, Math.floor((100 * done) / total)) : 100;
  const amount = unit === 'bytes' ? `${bytes(done)} of ${bytes(total)}` : `${done} of ${total} ${unit}`;
  return `${label} ${percent} % (${amount})`;
}

/** Says yes at most once per `intervalMs` for a label, and always to a label's last step if an earlier one was said. */
export function throttle(intervalMs: number, now: () => number): (progress: Progress) => boolean {
  let label = '';
  let last = 0;
  let said = false;
  return (progress) => {
    if (progress.label !== label) {
      label = progress.label;
      last = now();
      said = false;
    }
    const finished = progress.done >= progress.total;
    const due = now() - last >= intervalMs;
    if (!due && !(finished && said)) return false;
    last = now();
    said = !finished;
    return true;
  };
}
