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

/** What a page is like where a window of 360 pixels shows it. */
interface Seen {
  /** Pixels that it is wide. */
  width: number;
  /** Texts of pictures that leave their picture or lie on another text. */
  collisions: string[];
}

function look(html: string): Seen {
  const source = html.replace(/&/g, '&amp;').replace(/"/g, '&quot;');
  // A headless window is never narrower than 500 pixels, and the page runs no script: a frame measures it.
  const page = `<!doctype html><body><iframe id="f" style="width:360px;height:600px;border:0" srcdoc="${source}"></iframe>
<script>onload = () => {
  const within = (a, b) => a.left >= b.left - 1 && a.right <= b.right + 1 && a.top >= b.top - 1 && a.bottom <= b.bottom + 1;
  const apart = (a, b) => a.right <= b.left + 1 || b.right <= a.left + 1 || a.bottom <= b.top + 3 || b.bottom <= a.top + 3;
  const collisions = [];
  for (const svg of f.contentDocument.querySelectorAll('svg')) {
    const box = (node) => node.getBoundingClientRect();
    const texts = [...svg.querySelectorAll('text')];
    for (const [index, text] of texts.entries()) {
      if (!within(box(text), box(svg))) collisions.push(text.textContent + ' leaves its picture');
      for (const other of texts.slice(index + 1))
        if (!apart(box(text), box(other))) collisions.push(text.textContent + ' lies on ' + other.textContent);
    }
  }
  document.title = JSON.stringify({ width: f.contentDocument.documentElement.scrollWidth, collisions });
}</script>`;
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
  return JSON.parse(/<title>(.*?)<\/title>/s.exec(dom)?.[1]?.replaceAll('&amp;', '&') ?? '') as Seen;
}

// Needs a browser, which a machine that builds need not have.
describe.skipIf(!hasChromium)('report.html in a window of 360 pixels', () => {
  const all = Object.values(sampleReceipts());

  it('is no wider, whatever the names', () => {
    expect(look(htmlReport(all)).width).toBe(360);
    const long = 'encoder_layers_0_self_attention_'.repeat(8);
    const named = all.map((receipt) => ({
      ...receipt,
      files: receipt.files.map((file) => ({ ...file, path: `${long}.onnx` })),
      results: { ...receipt.results, failures: [long], manifest: long },
    }));
    expect(look(htmlReport(named, [long])).width).toBe(360);
    // The measure can fail.
    const wide = htmlReport(all).replace('<main>', '<main><div style="width:500px;height:1px"></div>');
    expect(look(wide).width).toBeGreaterThan(360);
  });

  it('has pictures whose texts stay inside, and apart from each other', () => {
    const name = 'encoder_layers_0_self_attention_'.repeat(3);
    const outputs = ['a', 'b'].map((letter) => ({
      name: name + letter,
      similarity: 0.99,
      worst: { sample: 1, cosine: 0.95 },
      cosines: [0.98, 0.999],
      channels: [{ axis: 1, worst: [{ index: 1077, cosine: 0.851 }] }],
    }));
    const trial = (form: string, value: number, similarity: number) => {
      return { name: form, form, similarity, slowdown: { value } };
    };
    const trials = [trial('dynamic', 0.5, 0.97), trial('static, percentile', 0.49, 0.99), trial('fp16', 0.9, 0.9999)];
    const search = { trials, chosen: { name: 'static, percentile' }, gates: { minSimilarity: 0.98 } };
    const receipts = all.map((receipt) =>
      receipt.action === 'compare'
        ? { ...receipt, results: { ...receipt.results, outputs } }
        : receipt.action === 'quantize'
          ? { ...receipt, results: { ...receipt.results, auto: search } }
          : receipt,
    );
    const html = htmlReport(receipts);
    expect(look(html).collisions).toEqual([]);
    // The measure can fail.
    expect(look(html.replace(/>P50: /, `>${name}`)).collisions).not.toEqual([]);
  });
});
