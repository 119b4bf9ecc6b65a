import { createReceipt, type Receipt } from '../../src/report/index.ts';

/** Receipts such as the actions write, about a model of the SARAi size that passes everything but one limit. */
export function sampleReceipts(): Record<'quantize' | 'checksum' | 'validate' | 'compare' | 'promote', Receipt> {
  const base = {
    now: new Date('2026-01-02T03:04:05Z'),
    modelRoot: 'ab'.repeat(32),
    files: [
      { path: 'models/onnx/agi_audio_core_int8.onnx', role: 'written' as const, size: 7600, root: 'ab'.repeat(32) },
      {
        path: 'models/onnx/agi_audio_core_int8.onnx.data',
        role: 'written' as const,
        size: 1.08e9,
        root: 'cd'.repeat(32),
      },
    ],
    environment: {
      os: 'Linux 6.8',
      arch: 'x64',
      cpu: 'Some CPU @ 2.40GHz',
      cores: 8,
      isa: ['avx2', 'avx512_vnni'],
      node: 'v24.0.0',
      ort: '1.30.0',
      provider: 'cpu',
    },
  };
  const model = 'models/onnx/agi_audio_core_int8.onnx';
  const wave = (middle: number, count: number) =>
    Array.from({ length: count }, (_, run) => middle * (1 + 0.04 * Math.sin(run * 1.7) + (run % 23 === 0 ? 0.15 : 0)));
  const nodes = Array.from({ length: 24 }, (_, index) => ({
    name: `/encoder/layers.${index}/self_attn/q_proj/MatMul`,
    opType: 'MatMul',
    action: index === 3 ? 'kept' : 'dynamic',
    reason: index === 3 ? 'exclude-nodes names it' : 'FP32 weight, activations quantized as they come',
    before: 178_000_000,
    after: index === 3 ? 178_000_000 : 44_500_000,
  }));
  return {
    quantize: createReceipt({
      ...base,
      action: 'quantize',
      inputs: { model: 'models/onnx/agi_audio_core.onnx' },
      verdict: 'pass',
      results: {
        method: 'dynamic',
        sourceBytes: 4_290_000_000,
        resultBytes: 1_080_000_000,
        compressionRatio: 3.972,
        nodesQuantized: 23,
        weights: { before: 4_288_000_000, quantized: 4_110_000_000, after: 1_079_000_000 },
        notes: ['Less is gained for Gather, whose table stays in memory as it is.'],
        nodes,
      },
    }),
    checksum: createReceipt({
      ...base,
      action: 'checksum',
      inputs: { mode: 'verify', manifest: 'SHA256SUMS' },
      verdict: 'pass',
      results: {
        mode: 'verify',
        manifest: 'SHA256SUMS',
        files: [
          { name: 'agi_audio_core_int8.onnx', status: 'ok', size: 7600, sha256: '12'.repeat(32) },
          { name: 'agi_audio_core_int8.onnx.data', status: 'ok', size: 1_080_000_000, sha256: '34'.repeat(32) },
        ],
        mismatched: [],
        failures: [],
        warnings: [],
        bytes: 1_080_007_600,
        ms: 512,
      },
    }),
    validate: createReceipt({
      ...base,
      action: 'validate',
      inputs: { model, 'max-latency-p50-ms': '2500' },
      verdict: 'fail',
      results: {
        checks: [
          { name: 'integrity', status: 'pass', figures: [], failures: [], findings: [] },
          {
            name: 'load',
            status: 'pass',
            figures: [{ name: 'Load time', value: 4210.4, unit: 'ms', limit: 15_000 }],
            failures: [],
            findings: [],
          },
          {
            name: 'inference',
            status: 'pass',
            figures: [],
            failures: [],
            findings: ['Padding changes the answer: cosine 0.9987, as DynamicQuantizeLinear makes it.'],
          },
          {
            name: 'latency',
            status: 'fail',
            figures: [
              { name: 'P50 latency', value: 2610.2, unit: 'ms', limit: 2500 },
              { name: 'P95 latency', value: 2790, unit: 'ms' },
            ],
            failures: [
              'P50 latency is 2610.2 ms, over the limit of 2500 ms (max-latency-p50-ms): warm the model up before it is used, try other threads (now 8) or quantize more of it.',
            ],
            findings: [],
          },
          {
            name: 'resources',
            status: 'pass',
            figures: [
              { name: 'Resident memory', value: 1130.5, unit: 'MB', limit: 1500 },
              { name: 'Peak memory', value: 5320.1, unit: 'MB' },
              { name: 'Size on disk', value: 1080, unit: 'MB', limit: 1500 },
            ],
            failures: [],
            findings: [],
          },
        ],
        hygiene: [],
        provider: { asked: 'auto', got: 'cpu', present: ['cpu'], refused: [] },
        runtime: { version: '1.30.0', source: 'node_modules' },
        threads: 8,
        samples: { count: 8, notes: [] },
        timings: {
          firstMs: 3904,
          warmup: 3,
          runs: wave(2610, 100),
          p50: 2610.2,
          p90: 2744,
          p95: 2790,
          p99: 3011,
          mean: 2622,
          variation: 0.05,
          endedBy: 'runs',
        },
        loadMs: 4210.4,
        memoryMb: 1130.5,
        peakMemoryMb: 5320.1,
        baselineMb: 62,
        sizeMb: 1080,
        seconds: 290,
      },
    }),
    compare: createReceipt({
      ...base,
      action: 'compare',
      inputs: { reference: 'models/onnx/agi_audio_core.onnx', model },
      verdict: 'pass',
      results: {
        similarity: 0.99381,
        agreement: null,
        mse: 0.00213,
        mae: 0.0311,
        maxAbs: 0.84,
        sqnrDb: 24.6,
        gates: [
          { name: 'similarity', figure: 0.99381, limit: 0.98, source: 'input', verdict: 'pass', sentence: '' },
          { name: 'mse', figure: 0.00213, limit: 0.01, source: 'input', verdict: 'pass', sentence: '' },
          { name: 'speedup', figure: 3.41, limit: 2, source: 'input', verdict: 'pass', sentence: '' },
        ],
        outputs: [
          {
            name: 'mel_features',
            kind: 'float',
            similarity: 0.99381,
            worst: { sample: 3, cosine: 0.98877 },
            mse: 0.00213,
            mae: 0.0311,
            maxAbs: 0.84,
            sqnrDb: 24.6,
            agreement: null,
          },
        ],
        reference: {
          path: 'models/onnx/agi_audio_core.onnx',
          size: 4_290_000_000,
          loadMs: 14_020,
          p50Ms: 8902,
          residentBytes: 4.41e9,
          peakBytes: 8.2e9,
        },
        model: { path: model, size: 1_080_007_600, loadMs: 4210, p50Ms: 2611, residentBytes: 1.13e9, peakBytes: 5.3e9 },
        speed: {
          mode: 'alternating',
          speedup: 3.41,
          interval: { low: 3.3, high: 3.5 },
          referenceMs: wave(8902, 24),
          modelMs: wave(2611, 24),
          endedBy: 'pairs',
        },
        samples: { count: 8, digest: 'ef'.repeat(32), notes: [] },
        worstSample: { name: 'sample 3', output: 'mel_features', cosine: 0.98877, saved: 'worst.npz' },
        failures: [],
        regressions: [],
        diagnosis: {
          layers: nodes
            .slice(0, 9)
            .map(({ name, opType }, index) => ({ name, opType, error: 0.08 / (index + 1) ** 1.4 })),
          excludeNodes: 'exclude-nodes: /encoder/layers.0/self_attn/q_proj/MatMul',
        },
        history: ['2025-11-01', '2025-12-01', '2026-01-01', '2026-01-02'].map((day, index) => ({
          createdAt: `${day}T00:00:00Z`,
          figures: { similarity: 0.9938 + index * 1e-5, speedup: 3.2 + 0.07 * index },
        })),
        seconds: { total: 412, own: 350, spooling: 20, comparing: 12, diagnosis: 30 },
      },
    }),
    promote: createReceipt({
      ...base,
      action: 'promote-config',
      inputs: { mode: 'promote' },
      verdict: 'pass',
      results: {
        mode: 'promote',
        changed: true,
        keys: [
          { key: 'models.audio_omni.model_path', from: 'models/onnx/agi_audio_core.onnx', to: model },
          { key: 'models.audio_omni.max_memory_mb', from: 4400, to: 1200 },
        ],
        diff: '@@ line 41 @@\n-    model_path: models/onnx/agi_audio_core.onnx\n+    model_path: models/onnx/agi_audio_core_int8.onnx\n@@ line 47 @@\n-    max_memory_mb: 4400\n+    max_memory_mb: 1200',
        commit: '0123abc',
        steps: [
          { name: 'restart', ms: 812, outcome: 'done' },
          { name: 'health', ms: 4100, outcome: 'healthy' },
        ],
      },
    }),
  };
}
