process.stdout.write('onnx-quantize-actions: promote-config\n');
await (await import('./index.js')).runAction('promote-config');
