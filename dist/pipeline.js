process.stdout.write('onnx-quantize-actions: pipeline\n');
await (await import('./index.js')).runAction('pipeline');
