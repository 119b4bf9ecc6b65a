import { open } from 'node:fs/promises';
import { elementType } from './elements.ts';
import type { StoredTensor } from './outputs.ts';

/** Rows looked at, and their elements: what the first rows are, the others are too. */
const MOST_ROWS = 4096;
const MOST_ELEMENTS = 2 ** 22;
/** How far from 1 rounding may take the sum of a row. */
const TOLERANCE = 1e-3;

/** Whether the rows of a float tensor along its last axis are probabilities: nothing below 0, and a sum of 1. */
export async function rowsSumToOne({ path, dtype, dims, length }: StoredTensor): Promise<boolean> {
  const { bytes, decode } = elementType(dtype);
  const columns = dims.at(-1) ?? 0;
  const rows = Math.min(
    columns > 0 ? length / bytes / columns : 0,
    MOST_ROWS,
    Math.max(1, Math.floor(MOST_ELEMENTS / columns)),
  );
  if (rows < 1) return false;
  const file = await open(path);
  try {
    const raw = new Uint8Array(columns * bytes);
    const values = new Float64Array(columns);
    for (let row = 0; row < rows; row++) {
      const { bytesRead } = await file.read(raw, 0, raw.length, row * raw.length);
      if (bytesRead < raw.length) return false;
      decode(new DataView(raw.buffer), columns, values);
      let sum = 0;
      for (const value of values) {
        if (!(value >= 0)) return false;
        sum += value;
      }
      if (!(Math.abs(sum - 1) <= TOLERANCE)) return false;
    }
    return true;
  } finally {
    await file.close();
  }
}
