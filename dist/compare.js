process.stdout.write('onnx-quantize-actions: compare\n');
await (await import('./index.js')).runAction('compare');
