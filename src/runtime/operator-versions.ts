/** What a runtime says that lacks an operator or a form of it, and the first release that has it; found by running them. */
const SINCE: readonly [RegExp, string][] = [
  [/GatherBlockQuantized.*(?:not a registered|Unrecognized attribute)/s, '1.23'],
  [/Only 4b quantization is supported for MatMulNBits/, '1.22'],
  [/MatMulNBits.*has input size \d+ not in range/s, '1.19'],
  [/MatMulNBits.*not a registered/s, '1.17'],
];

/** The first release of ONNX Runtime with what this message misses, for operators that quantizing makes. */
export function releaseWith(message: string): string | undefined {
  return SINCE.find(([pattern]) => pattern.test(message))?.[1];
}
