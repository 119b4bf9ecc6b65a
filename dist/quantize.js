process.stdout.write('onnx-quantize-actions: quantize\n');
await (await import('./index.js')).runAction('quantize');
