#!/usr/bin/env node
// Says its first line before it loads anything, so that a terminal answers at once.
const argv = process.argv.slice(2);
const command = argv[0] ?? '--help';
if (!command.startsWith('-') && !argv.includes('--quiet'))
    process.stderr.write(`onnx-quantize-actions ${command}\n`);
const { runCommandLine } = await import('./index.js');
await runCommandLine(argv);
export {};
