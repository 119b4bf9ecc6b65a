process.stdout.write('onnx-quantize-actions: model-check\n');
await (await import('./index.js')).runAction('model-check');
