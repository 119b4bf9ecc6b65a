import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { bytes } from '../../src/bytes.ts';
import type { Receipt } from '../../src/receipt/index.ts';
import { barLabels, duration, number } from '../../src/report/format.ts';
import { htmlReport, plotFile } from '../../src/report/html-report.ts';
import {
  actionSummary,
  escapeMarkdown,
  inlineCode,
  markdownTable,
  pipelineSummary,
  SUMMARY_BYTES,
  sectionOf,
  terminalTable,
} from '../../src/report/index.ts';
import { mermaid } from '../../src/report/mermaid.ts';
import type { Chart } from '../../src/report/page.ts';
import { sampleReceipts } from './samples.ts';

const samples = sampleReceipts();
const all = Object.values(samples);
const fieldsOf = ({ results }: Receipt) => results as Record<string, unknown>;
const hostile = '|`<script>alert("1")</script>`|\n# x & [a](http://b.c) **d** ```';

describe('the summary of one action', () => {
  it('holds each figure, its unit, its limit and the verdict in a row', () => {
    const summary = actionSummary(samples.validate);
    expect(summary).toContain('## Validate: agi\\_audio\\_core\\_int8.onnx');
    expect(summary).toContain('| P50 latency | 2610 ms | ≤ 2500 ms | ❌ fail |');
    expect(summary).toContain('| Load time | 4210 ms | ≤ 15000 ms | ✅ pass |');
    expect(summary).toContain('| P95 latency | 2790 ms |  | – |');
    expect(summary).toContain('| **Integrity** | passed |  | ✅ pass |');
    expect(summary).toContain('> ❌ P50 latency is 2610.2 ms, over the limit');
  });

  it('charts latency, sizes and the error of each layer', () => {
    expect(actionSummary(samples.validate)).toContain('"P50: 2610 (limit 2500)"');
    const compare = actionSummary(samples.compare);
    expect(compare).toContain('title "Error that each layer introduces, relative to its output"');
    expect(compare).toContain('```yaml\nexclude-nodes: |\n  /encoder/layers.0/self_attn/q_proj/MatMul\n```');
    expect(compare).toContain('"…0…: 0.08", "…1…: 0.0303"');
    expect(compare).toContain('| Speed-up, paired | 3.41 × | ≥ 2 × | ✅ pass |');
    expect(compare).toContain('title "Cosine similarity over past runs (red: limit 0.98)"');
  });

  it('keeps runs of one day apart in a trend', () => {
    const entry = (createdAt: string, similarity: number) => ({ createdAt, figures: { similarity } });
    const labels = (...times: string[]) => {
      const history = times.map((time, index) => entry(time, 0.99 + index / 1000));
      const summary = actionSummary({ ...samples.compare, results: { ...samples.compare.results, history } });
      return /over past runs.*\n {2}x-axis (\[.*\])/.exec(summary)?.[1];
    };
    expect(labels('2026-01-01T10:00:00Z', '2026-01-02T10:00:00Z')).toBe('["2026-01-01", "2026-01-02"]');
    expect(labels('2026-01-01T10:00:00Z', '2026-01-01T10:05:00Z')).toBe('["2026-01-01 10:00", "2026-01-01 10:05"]');
    const year = Array.from({ length: 12 }, (_, month) => `2026-${String(month + 1).padStart(2, '0')}-01T10:00:00Z`);
    expect(labels(...year)).toMatch(/^\["1", "2", .*"12"\]$/);
    const same = '2026-01-01T10:00:00Z';
    expect(labels(same, same)).toBe('["2026-01-01 run 1", "2026-01-01 run 2"]');
  });

  it('says what keeps an inconclusive verdict open first, and once', () => {
    const message = 'The times vary by 41 %, and 25 % is calm.';
    const results = fieldsOf(samples.validate);
    const open = [{ input: 'max-latency-p50-ms', sentence: message }];
    const checks = [{ name: 'latency', status: 'inconclusive', figures: [], failures: [], open, findings: [message] }];
    const receipt: Receipt = {
      ...samples.validate,
      verdict: 'inconclusive',
      results: { ...results, checks },
    };
    expect(sectionOf(receipt)).toMatchObject({ failures: [message], notes: [] });
    expect(actionSummary(receipt)).toContain('> ⚠️ The times vary');
    expect(htmlReport([receipt])).toContain(`<p class="note">${message}</p>`);
  });

  it('draws no limit that is far beyond what was measured, and says so', () => {
    const bars = (limit: number) => {
      return { kind: 'bars' as const, title: 'Latency', unit: 'ms', bars: [{ label: 'P50', value: 10, limit }] };
    };
    expect(mermaid(bars(35))).toContain('title "Latency (line: limit 35 ms)"');
    expect(plotFile(bars(35))).toContain('limit 35');
    const far = bars(2500);
    expect(mermaid(far)).toContain('title "Latency (limit 2500 ms, beyond the scale)"');
    expect(mermaid(far)).not.toContain('  line [');
    expect(plotFile(far)).toContain('aria-label="Latency (limit 2500 ms, beyond the scale)"');
  });

  it('shows what changed in the config', () => {
    const summary = actionSummary(samples.promote);
    expect(summary).toMatch(/```diff\n@@ line 41 @@\n- {4}model_path: .*\n\+ {4}model_path/);
    expect(summary).toContain('models.audio\\_omni.max\\_memory\\_mb: 4400 → 1200');
    expect(summary).toContain('| Health | 4.10 s |  | ✅ pass |');
  });
});

describe('the summary of the pipeline', () => {
  it('begins with the answer, both models side by side, and a row with content for each step', () => {
    const [top = ''] = pipelineSummary(all).split('### ');
    expect(top).toContain('**❌ 4.0 × smaller · 3.4 × faster · 0.994 alike · promoted**');
    expect(top).toContain('|  | FP32 | INT8 | Δ |');
    expect(top).toContain('| size on disk | 4.29 GB | 1.08 GB | −74.8 % |');
    expect(top).toMatch(/\| P95 latency \| \d+ ms \| \d+ ms \| −70\.7 % \|/);
    expect(top).toContain('| Checksum, verified | 2 files, 1.08 GB, match | ✅ pass |');
    expect(top).toContain('| Validate | 4 passed, 1 failed, P50 2610 ms | ❌ fail |');
    expect(top).toContain('| Compare | Cosine similarity 0.99381 \\(≥ 0.98\\), ');
  });

  it('says why a model is not promoted, by the first figure that failed, and which steps did not run', () => {
    const { quantize, checksum, validate } = samples;
    const asked = { ...quantize, inputs: { ...quantize.inputs, config: 'sarai.yaml', delivery: 'file' } };
    const [top = ''] = pipelineSummary([asked, checksum, validate]).split('### ');
    expect(top).toContain(
      '**❌ 4.0 × smaller · not promoted because P50 latency is 2610.2 ms, over the limit of 2500 ms',
    );
    expect(top).toContain('warm the model up');
    expect(top).toContain('| Compare | skipped: a step before it did not pass | – |');
    expect(top).toContain('| Promote | skipped: a step before it did not pass | – |');
    // What no receipt says is said too.
    const ended = htmlReport([asked], ['validate: There is no sample in samples/: name a folder that has some.']);
    expect(ended).toContain('not promoted because validate: There is no sample in samples/');
    expect(ended).toContain('<th scope="row">Validate</th><td>skipped');
  });

  it('goes on with the sentence that says why, and calls as fast what is not known to be faster', () => {
    const failure = 'The similarity 0.9917 is below the limit 0.999: leave the layers unquantized.';
    const results = {
      ...fieldsOf(samples.compare),
      speed: { speedup: 1.014, interval: { low: 0.93, high: 1.1 } },
      gates: [{ name: 'similarity', figure: 0.9917, limit: 0.999, verdict: 'fail', sentence: failure }],
      failures: [failure],
    };
    const compare: Receipt = { ...samples.compare, verdict: 'fail', results };
    const asked = { ...samples.quantize, inputs: { ...samples.quantize.inputs, config: 'sarai.yaml' } };
    const summary = pipelineSummary([asked, compare], [failure]);
    expect(summary).toContain(' · as fast · 0.994 alike · not promoted because the similarity 0.9917 is below');
    // Said at the top once, and in its section.
    expect(summary.split('similarity 0.9917 is below')).toHaveLength(3);
  });

  it('has no columns of limits where nothing is limited', () => {
    expect(actionSummary(samples.quantize)).toContain('| check | figure |\n|---|---:|\n');
    expect(htmlReport([samples.quantize])).not.toContain('>limit</th>');
    expect(htmlReport([samples.compare])).toContain('>limit</th>');
  });

  it('names two models of which no receipt tells the precision by their files', () => {
    expect(actionSummary(samples.compare)).toContain('|  | FP32 | INT8 | Δ |');
    const fp16 = { ...samples.compare.inputs, method: 'fp16' };
    expect(actionSummary({ ...samples.compare, inputs: fp16 })).toContain('|  | FP32 | FP16 | Δ |');
    const auto = { ...samples.compare.inputs, method: 'auto' };
    expect(actionSummary({ ...samples.compare, inputs: auto })).not.toContain('| INT8 |');
    const { method: _, ...inputs } = samples.compare.inputs;
    const alone = actionSummary({ ...samples.compare, inputs });
    expect(alone).toContain('|  | agi\\_audio\\_core.onnx | agi\\_audio\\_core\\_int8.onnx | Δ |');
  });

  it('stays below what GitHub takes, whatever the model', () => {
    const nodes = Array.from({ length: 30_000 }, (_, index) => ({
      name: `${hostile}${index}`,
      reason: 'x'.repeat(300),
    }));
    const notes = Array.from({ length: 50_000 }, (_, index) => `${hostile} ${index}`);
    const many = Array.from({ length: 40 }, () => ({
      ...samples.quantize,
      results: { ...samples.quantize.results, nodes, notes },
    }));
    for (const receipts of [many.slice(0, 1), many]) {
      const summary = pipelineSummary(receipts);
      expect(Buffer.byteLength(summary)).toBeLessThanOrEqual(SUMMARY_BYTES);
      expect(SUMMARY_BYTES).toBeLessThan(2 ** 20);
      expect((summary.match(/^```/gm) ?? []).length % 2).toBe(0);
    }
    expect(pipelineSummary(many)).toContain('Details are left out here');
  });
});

describe('Markdown', () => {
  it('keeps one row per row, whatever the cells hold', () => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.string({ unit: 'grapheme' }), fc.string({ unit: 'grapheme' })), { maxLength: 5 }),
        (rows) => {
          const lines = markdownTable({ head: ['a', 'b'], rows: [...rows, [hostile, hostile]], code: [1] }).split('\n');
          expect(lines).toHaveLength(rows.length + 3);
          for (const line of lines) expect(line.match(/(?<!\\)(?:\\\\)*\|/g), line).toHaveLength(3);
        },
      ),
    );
  });

  it('leaves no markup of its own in plain text', () => {
    const escaped = escapeMarkdown(hostile);
    expect(escaped).not.toMatch(/[<>\n]|(?<!\\)[`*_[\]|]|(?<![\\&])#|https?:\/\//);
    expect(escaped).toContain('&lt;script&gt;');
  });

  it('fences code by more backticks than it has', () => {
    expect(inlineCode('a`b')).toBe('`` a`b ``');
    expect(inlineCode('a|b')).toBe('`a\\|b`');
  });
});

describe('Mermaid', () => {
  it('reads no label as anything but text', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), fc.double({ noNaN: true, min: -1e9, max: 1e9 }), (text, value) => {
        const source = mermaid({
          kind: 'bars',
          title: text + hostile,
          unit: text,
          bars: [{ label: text + hostile, value }],
        });
        const lines = (source ?? '').split('\n').slice(1);
        expect(lines).toHaveLength(5);
        expect(lines[1]).toMatch(/^ {2}title "[^"`<>#;{}]*"$/);
        expect(lines[2]).toMatch(/^ {2}x-axis \["[^"`<>#;{}]*"\]$/);
        expect(lines[3]).toMatch(/^ {2}y-axis "[^"`<>#;{}]*" -?\d+(\.\d+)? --> -?\d+(\.\d+)?$/);
        expect(lines[4]).toMatch(/^ {2}bar \[-?\d+(\.\d+)?\]$/);
      }),
    );
  });

  it('has no chart for nothing', () => {
    expect(mermaid({ kind: 'bars', title: 't', unit: 'ms', bars: [] })).toBeUndefined();
    expect(mermaid({ kind: 'trend', title: 't', unit: 'ms', points: [{ label: 'a', value: 1 }] })).toBeUndefined();
  });
});

describe('report.html', () => {
  const html = htmlReport(all);

  it('needs no network and runs nothing', () => {
    expect(html).toContain("default-src 'none'");
    expect(html).not.toMatch(/<(script|link|img|iframe)|\b(src|on\w+)="|url\((?!#)|@import/i);
    expect(html.replaceAll('http://www.w3.org/2000/svg', '')).not.toMatch(/https?:/);
  });

  it('holds plots that have names, and are light and dark', () => {
    const plots = html.match(/<svg [^>]*>/g) ?? [];
    expect(plots.length).toBeGreaterThanOrEqual(9);
    for (const plot of plots) expect(plot).toMatch(/role="img" aria-label="[^"]+"/);
    expect(html).toContain('var(--series-1)');
    expect(html).toContain('prefers-color-scheme: dark');
    expect(html).toContain('limit 2500');
  });

  it('is the same for the same receipts, with no id twice', () => {
    expect(htmlReport(all)).toBe(html);
    const ids = [...html.matchAll(/ id="([^"]+)"/g)].map(([, id]) => id);
    expect(new Set(ids).size).toBe(ids.length);
  });

  it('escapes what receipts say', () => {
    const receipt = {
      ...samples.validate,
      inputs: { model: hostile },
      results: { failures: [hostile], timings: { p50: 1 }, checks: [{ name: hostile }] },
    };
    expect(htmlReport([receipt])).not.toContain('<script');
  });
});

describe('any receipt', () => {
  it('can be shown, whatever its results', () => {
    const keys = [...new Set(all.flatMap(({ results }) => Object.keys(results)))];
    fc.assert(
      fc.property(fc.constantFrom(...all), fc.constantFrom(...keys), fc.jsonValue(), (receipt, key, value) => {
        const odd = { ...receipt, results: { ...receipt.results, [key]: value } } as Receipt;
        expect(sectionOf(odd).title).not.toBe('');
        expect(actionSummary(odd)).toContain('## ');
        expect(htmlReport([odd])).toContain('</html>');
      }),
      { numRuns: 150 },
    );
  });

  it('of nothing at all is a page too', () => {
    expect(pipelineSummary([])).toContain('## No receipts');
    expect(htmlReport([])).toContain('No receipts');
  });
});

describe('a plot', () => {
  const charts: Chart[] = [
    { kind: 'bars', title: 'b', unit: 'ms', bars: [{ label: 'a & <b>', value: 3, limit: 2 }] },
    {
      kind: 'runs',
      title: 'r',
      unit: 'ms',
      series: [
        { name: 'x', values: [1, 2, 3] },
        { name: 'y', values: [2, 3] },
      ],
    },
    {
      kind: 'strip',
      title: 's',
      unit: 'cosine',
      rows: [{ label: 'a & <b>', value: 0.99, low: 0.98, limit: 0.97 }],
      ideal: 1,
    },
    {
      kind: 'trade',
      title: 'p',
      x: 'faster',
      y: 'alike',
      points: [
        { label: '{a|<b>}', x: 1, y: 0.9, chosen: false },
        { label: 'static', x: 2, y: 0.99, chosen: true },
      ],
      limit: 0.98,
    },
    {
      kind: 'trend',
      title: 't',
      unit: '',
      points: [
        { label: '1', value: 0.9938 },
        { label: '2', value: 0.9939 },
      ],
    },
  ];

  it.each(charts)('of $kind is an SVG file of its own', (chart) => {
    const svg = plotFile(chart) ?? '';
    expect(svg).toMatch(/^<svg role="img" aria-label="\w" xmlns="http:\/\/www\.w3\.org\/2000\/svg"/);
    expect(svg).toContain('<style>');
    // Well-formed: every tag has whole attributes, and tags nest.
    const open: string[] = [];
    const rest = svg.replace(
      /<(\/?)(\w+)((?: [\w:-]+="[^"<]*")*) ?(\/?)>/g,
      (_, closing: string, tag: string, __, empty: string) => {
        if (closing === '/') expect(open.pop()).toBe(tag);
        else if (empty !== '/') open.push(tag);
        return '';
      },
    );
    expect(open).toEqual([]);
    expect(rest).not.toMatch(/[<>]/);
  });

  it('of nothing is none', () => {
    expect(plotFile({ kind: 'bars', title: 'b', unit: '', bars: [] })).toBeUndefined();
    expect(plotFile({ kind: 'runs', title: 'r', unit: '', series: [] })).toBeUndefined();
  });
});

describe('a limit', () => {
  it('crosses only what it limits', () => {
    const bars = (first: number | undefined) => ({
      kind: 'bars' as const,
      title: 'Memory',
      unit: 'GB',
      bars: [
        { label: 'base', value: 2, limit: first },
        { label: 'peak', value: 3, limit: 3.5 },
      ],
    });
    const some = mermaid(bars(undefined));
    expect(some).toContain('x-axis ["base: 2", "peak: 3 (limit 3.5)"]');
    expect(some).not.toContain('  line [');
    expect(mermaid(bars(3.5))).toContain('  line [3.5, 3.5]');
    const strokes = (limit: number | undefined) => (plotFile(bars(limit)) ?? '').match(/var\(--limit\)/g)?.length ?? 0;
    expect(strokes(3.5)).toBeGreaterThan(strokes(undefined));
  });
});

describe('similarity', () => {
  const dots = (receipt: Receipt) => (htmlReport([receipt]).match(/<path [^>]*fill-opacity="0.5"/g) ?? []).length;
  const output = { name: 'y', similarity: 0.99, worst: { sample: 7, cosine: 0.97 } };
  const compare = (count: number, outputs: object[]) => {
    return { ...samples.compare, results: { ...fieldsOf(samples.compare), samples: { count }, outputs } } as Receipt;
  };

  it('is drawn for every sample, with the mean', () => {
    const cosines = [0.991, 0.992, 0.993, 0.97];
    const html = htmlReport([compare(4, [{ ...output, cosines }])]);
    expect(html).toContain('<figcaption>Similarity of each output: the mean, and a dot for each sample</figcaption>');
    // The worst one is drawn with them, in case it is not among those that are kept.
    expect(dots(compare(4, [{ ...output, cosines }]))).toBe(5);
    expect(
      dots(
        compare(4, [
          { ...output, cosines },
          { ...output, name: 'z', cosines: [1] },
        ]),
      ),
    ).toBe(7);
  });

  it('says of how many samples only the first are drawn, and of older receipts draws the range', () => {
    expect(htmlReport([compare(3000, [{ ...output, cosines: [0.99, 0.98] }])])).toContain(
      'a dot for each sample, the first 2 of 3000 and the worst',
    );
    expect(htmlReport([samples.compare])).toContain('mean, and down to its worst sample');
    expect(dots(samples.compare)).toBe(0);
  });
});

describe('axes', () => {
  it('are marked at even steps, up to both ends', () => {
    fc.assert(
      fc.property(
        fc.double({ min: 1e-6, max: 1e6, noNaN: true }),
        fc.double({ min: 0, max: 3, noNaN: true }),
        (value, factor) => {
          const bars = [{ label: 'a', value, limit: factor * value }];
          const svg = plotFile({ kind: 'bars', title: 't', unit: 'ms', bars }) ?? '';
          const marks = [...svg.matchAll(/>(-?[\d.]+(?:e[+-]\d+)?)<\/text>/g)].map(([, text]) => Number(text));
          const steps = marks.slice(1).map((mark, index) => mark - marks[index]!);
          expect(marks[0]).toBe(0);
          expect(marks.at(-1)).toBeGreaterThanOrEqual(Math.max(value, factor * value) * (1 - 1e-5));
          for (const step of steps) expect(Math.abs(step - steps[0]!)).toBeLessThan(1e-4 * marks.at(-1)!);
        },
      ),
      { numRuns: 50 },
    );
  });
});

describe('timed runs', () => {
  it('are clipped where a few press the others to the floor, and those are counted', () => {
    const values = [...Array.from({ length: 30 }, (_, run) => 10 + (run % 3)), 400, 900];
    const svg = plotFile({ kind: 'runs', title: 'Runs', unit: 'ms', series: [{ name: 'x', values }] }) ?? '';
    expect(svg).toContain('aria-label="Runs (2 at the upper edge are beyond the scale, up to 900 ms)"');
    expect(svg).toContain('>x: P50 11 ms<');
    expect(svg).not.toMatch(/>(400|900|1000)</);
  });
});

describe('a search of methods', () => {
  it('is drawn by what is gained and what is kept, with the choice marked', () => {
    const trial = (form: string, slowdown: number, similarity: number) => {
      return { name: form, form, similarity, slowdown: { value: slowdown }, sizeRatio: 0.26 };
    };
    const trials = [trial('dynamic', 0.5, 0.97), trial('<b>static</b>', 0.4, 0.99), trial('fp16', 0.9, 0.9999)];
    const auto = { trials, chosen: { name: '<b>static</b>' }, gates: { minSimilarity: 0.98 } };
    const results = { ...samples.quantize.results, auto };
    const html = htmlReport([{ ...samples.quantize, results }]);
    // What was given back: error and time beside each other, in the same order.
    const given = ['/a/MatMul', '/b/MatMul'].map((name, index) => {
      return { nodes: [name], as: 'keep', error: 0.02 + index, bytes: 1e6, time: 0.25 };
    });
    const back = htmlReport([{ ...samples.quantize, results: { ...results, auto: { ...auto, given } } }]);
    for (const label of ['/a/MatMul: 0.02', '/b/MatMul: 1.02', '/a/MatMul: 25', '/b/MatMul: 25'])
      expect(back).toContain(`>${label}</text>`);
    expect(html).not.toContain('Their part of the time');
    expect(html).toContain('&lt;b&gt;static&lt;/b&gt; (chosen)');
    expect(html).toContain('What auto tried');
    expect(html).toContain('limit 0.98');
  });
});

describe('a table for a terminal', () => {
  it('lines up columns, also with signs that are two columns wide', () => {
    const rows = [
      ['size', '4.29 GB', '✅ pass'],
      ['P50', '12 ms', '–'],
    ];
    expect(terminalTable({ head: ['check', 'figure', 'verdict'], rows, numeric: [1] })).toBe(
      ['check   figure  verdict', '─────  ───────  ───────', 'size   4.29 GB  ✅ pass', 'P50      12 ms  –'].join('\n'),
    );
  });
});

describe('figures', () => {
  it.each([
    [0, '0'],
    [0.00021, '2.10e-4'],
    [0.98765, '0.9877'],
    [12.345, '12.35'],
    [2610.2, '2610'],
    [undefined, '–'],
  ])('%d reads %s', (value, text) => expect(number(value)).toBe(text));

  it('have units', () => {
    expect([12, 7600, 999_999, 4_294_967_296].map(bytes)).toEqual(['12 bytes', '7.60 kB', '1.00 MB', '4.29 GB']);
    expect([duration(12), duration(12_340), duration(245_000)]).toEqual(['12 ms', '12.3 s', '4 min 5 s']);
  });

  it('have labels that differ where names do', () => {
    const names = [0, 1, 2].map((layer) => `/a/very/long/name/of/a/layer.${layer}/and/more/of/it/MatMul`);
    const labels = barLabels(
      names.map((label) => ({ label, value: 1 })),
      20,
    );
    expect(labels).toEqual(['…0…: 1', '…1…: 1', '…2…: 1']);
  });
});
