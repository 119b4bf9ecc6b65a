process.stdout.write('onnx-quantize-actions: checksum\n');
await (await import('./index.js')).runAction('checksum');
