import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { htmlReport } from '../../src/report/html-report.ts';
import { sampleReceipts } from './samples.ts';

const chromium = ['chromium', 'chromium-browser', 'google-chrome'].find(
  (name) => spawnSync(name, ['--version']).status === 0,
);
const hasChromium = chromium !== undefined;
const folder = mkdtempSync(path.join(tmpdir(), 'onnx-quantize-test-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** Pixels that a page is wide where a window of 360 shows it. */
function widthOf(html: string): number {
  const source = html.replace(/&/g, '&amp;').replace(/"/g, '&quot;');
  // A headless window is never narrower than 500 pixels, and the page runs no script: a frame measures it.
  const page = `<!doctype html><body><iframe id="f" style="width:360px;height:600px;border:0" srcdoc="${source}"></iframe>
<script>onload = () => { document.title = f.contentDocument.documentElement.scrollWidth }</script>`;
  const file = path.join(folder, 'page.html');
  writeFileSync(file, page);
  const options = [
    '--headless',
    '--no-sandbox',
    '--disable-gpu',
    '--hide-scrollbars',
    `--user-data-dir=${path.join(folder, 'profile')}`,
  ];
  const dom = execFileSync(chromium ?? '', [...options, '--dump-dom', `file://${file}`], {
    encoding: 'utf8',
    maxBuffer: 2 ** 26,
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  return Number(/<title>(\d+)<\/title>/.exec(dom)?.[1]);
}

// Needs a browser, which a machine that builds need not have.
describe.skipIf(!hasChromium)('report.html in a window of 360 pixels', () => {
  const all = Object.values(sampleReceipts());

  it('is no wider, whatever the names', () => {
    expect(widthOf(htmlReport(all))).toBe(360);
    const long = 'encoder_layers_0_self_attention_'.repeat(8);
    const named = all.map((receipt) => ({
      ...receipt,
      files: receipt.files.map((file) => ({ ...file, path: `${long}.onnx` })),
      results: { ...receipt.results, failures: [long], manifest: long },
    }));
    expect(widthOf(htmlReport(named, [long]))).toBe(360);
    // The measure can fail.
    expect(
      widthOf(htmlReport(all).replace('<main>', '<main><div style="width:500px;height:1px"></div>')),
    ).toBeGreaterThan(360);
  });
});
