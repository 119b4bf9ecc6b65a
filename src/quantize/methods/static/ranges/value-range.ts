/** Bounds of the real values that 8 bits are spread over. */
export interface ValueRange {
  low: number;
  high: number;
}
