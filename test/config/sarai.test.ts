import { readFile } from 'node:fs/promises';
import { describe, expect, it } from 'vitest';
import { editYaml } from '../../src/config/index.ts';

const example = new URL('../../examples/sarai/config/sarai.yaml', import.meta.url);

describe('examples/sarai/config/sarai.yaml', () => {
  it('takes the INT8 model by changing two lines', async () => {
    const source = await readFile(example);
    const result = editYaml(source, [
      { key: 'audio_omni.model_path', value: 'models/onnx/agi_audio_core_int8.onnx' },
      { key: 'audio_omni.max_memory_mb', value: 1200 },
    ]);
    const before = source.toString().split('\n');
    const after = result.bytes.toString().split('\n');
    expect(after.filter((line, index) => line !== before[index])).toEqual([
      '    model_path: models/onnx/agi_audio_core_int8.onnx   # 4.3GB FP32',
      '    max_memory_mb: 1200      # residente tras el calentamiento, más margen',
    ]);
    expect(after.length).toBe(before.length);
    expect(result.edits[0]?.staleComment?.text).toBe('# 4.3GB FP32');
    expect(result.edits[1]?.staleComment).toBeUndefined();
  });
});
