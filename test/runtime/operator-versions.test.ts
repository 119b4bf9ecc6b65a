import { describe, expect, it } from 'vitest';
import { releaseWith } from '../../src/runtime/operator-versions.ts';

/** What onnxruntime 1.16, 1.17 and 1.21 said of models that need more; shortened at the front. */
const SAID: [string, string | undefined][] = [
  ['Fatal error: com.microsoft:MatMulNBits(-1) is not a registered function/op', '1.17'],
  [
    'In Node, ("", MatMulNBits, "com.microsoft", -1) : , Error Node () has input size 6 not in range [min=3, max=4].',
    '1.19',
  ],
  [
    'quantization/matmul_nbits.cc:114 nbits_ == 4 was false. Only 4b quantization is supported for MatMulNBits op, additional bits support is planned.',
    '1.22',
  ],
  ['Fatal error: com.microsoft:GatherBlockQuantized(-1) is not a registered function/op', '1.23'],
  [
    'In Node, ("", GatherBlockQuantized, "com.microsoft", -1), Error Unrecognized attribute: bits for operator GatherBlockQuantized',
    '1.23',
  ],
  ['MatMulNBits PrePack: B initializer shape {12,32} does not match', undefined],
  ['com.microsoft:Something(-1) is not a registered function/op', undefined],
];

describe('the release that has what a runtime lacks', () => {
  it.each(SAID)('%s → %s', (message, release) => expect(releaseWith(message)).toBe(release));
});
