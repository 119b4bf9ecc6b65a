process.stdout.write('onnx-quantize-actions: validate\n');
await (await import('./index.js')).runAction('validate');
