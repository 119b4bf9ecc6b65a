/** The forms that have a column, in order; Python's best is found among its rows. */
const COLUMNS = [
  'static',
  'dynamic',
  'weight-only',
  '8 bits in blocks',
  '4 bits',
  'Python: dynamic',
  'Python: static',
  'Python: best',
  'auto',
];

/** A model's row in one line, for who watches. */
export function summary(row) {
  if (row.skipped) return `${row.name}: skipped: ${row.skipped}`;
  const forms = row.forms.map((form) => `    ${form.form.padEnd(32)} ${cellOf(form)}`);
  const auto = row.forms.find(({ form }) => form === 'auto');
  return [
    `${row.name}: ${megabytes(row.size)}, ${row.wall.toFixed(0)} s in all`,
    ...forms,
    `    ${auto?.sentence ?? ''}`,
  ].join('\n');
}

/** The tables of docs/benchmarks.md. */
export function markdown(rows) {
  const measured = rows.filter(({ skipped }) => !skipped);
  if (measured.length === 0) return '## Matrix\n\nNothing measured.';
  const line = (cells) => `| ${cells.map((cell) => String(cell).replaceAll('|', '\\|')).join(' | ')} |`;
  const head = ['model', 'FP32', ...COLUMNS, 'auto took', 'auto chose'];
  const body = measured.map((row) => {
    const auto = formOf(row, 'auto');
    const cells = COLUMNS.map((name) => cellOf(formOf(row, name)));
    return [
      `${row.what} (\`${row.from}\`)`,
      megabytes(row.size),
      ...cells,
      `${auto?.seconds?.toFixed(0) ?? '–'} s`,
      auto?.sentence ?? auto?.error ?? '–',
    ];
  });
  const skipped = rows.filter((row) => row.skipped).map(({ name, skipped: why }) => `- ${name}: left out, ${why}`);
  return [
    '## Matrix: published models in every form',
    '',
    ...goals(measured),
    '',
    'A cell: speed against FP32, cosine / channel-similarity on samples that chose nothing, how often the highest score is of the same class (a reader: the same character), size ÷ FP32, resident MiB. ✗: misses 0.98 or 0.9.',
    '',
    line(head),
    line(head.map(() => '---')),
    ...body.map(line),
    ...(skipped.length > 0 ? ['', ...skipped] : []),
    '',
    ...machines(measured),
  ].join('\n');
}

function formOf(row, name) {
  if (name !== 'Python: best') return row.forms.find(({ form }) => form === name);
  const sound = row.forms.filter(
    ({ form, alike, sizeRatio }) => form.startsWith('Python') && alike && sizeRatio <= 0.7,
  );
  return sound.reduce((best, form) => (best === undefined || speedOf(form) > speedOf(best) ? form : best), undefined);
}

const speedOf = (form) => form?.speedup ?? 0;

function cellOf(form) {
  if (!form) return '–';
  if (form.error) return `✗ ${form.error.slice(0, 60)}`;
  const speed = form.speedup ? `${form.speedup.toFixed(2)} ×, ` : '';
  const channels = form.channelSimilarity === null ? '' : ` / ${form.channelSimilarity.toFixed(3)}`;
  const agreement = typeof form.agreement === 'number' ? `, same ${(100 * form.agreement).toFixed(0)} %` : '';
  const memory = form.residentBytes ? `, ${(form.residentBytes / 2 ** 20).toFixed(0)} MiB` : '';
  return `${form.alike ? '' : '✗ '}${speed}${form.similarity.toFixed(4)}${channels}${agreement}, ${form.sizeRatio.toFixed(2)}${memory}`;
}

/** Where auto stands against what it must reach. */
function goals(rows) {
  const autos = rows.map((row) => formOf(row, 'auto'));
  const pass = autos.filter((form) => form?.alike && form.sizeRatio < 1).length;
  // A form that does not pass leaves the model as it is.
  const gain = (form) => (form?.alike && form.speedup ? form.speedup : 1);
  const own = geometric(autos.map(gain));
  const hand = geometric(rows.map((row) => Math.max(1, gain(formOf(row, 'Python: best')))));
  const sizes = autos.map((form) => (form?.alike ? form.sizeRatio : 1)).sort((a, b) => a - b);
  const slowest = Math.max(...autos.map((form) => form?.seconds ?? 0));
  const small = autos.filter((_, i) => rows[i].size <= 12e6).map((form) => form?.seconds ?? 0);
  const line = (what, figure, limit, met) => `| ${what} | ${figure} | ${limit} | ${met ? 'met' : 'MISSED'} |`;
  return [
    '| auto | figure | must reach | |',
    '| --- | --- | --- | --- |',
    line('models that pass all gates', `${pass} of ${rows.length}`, 'all', pass === rows.length),
    line('speed against FP32, geometric mean', `${own.toFixed(2)} ×`, '≥ 1.55 ×', own >= 1.55),
    line(
      'against the best recipe by hand in Python',
      `${(own / hand).toFixed(2)} × (${hand.toFixed(2)} ×)`,
      '≥ 1.1 ×',
      own >= 1.1 * hand,
    ),
    line('size ÷ FP32, largest', sizes.at(-1).toFixed(2), '≤ 0.6', sizes.at(-1) <= 0.6),
    line(
      'size ÷ FP32, median',
      sizes[Math.floor(sizes.length / 2)].toFixed(2),
      '≤ 0.3',
      sizes[Math.floor(sizes.length / 2)] <= 0.3,
    ),
    line('wall, models of up to 12 MB', `${Math.max(...small).toFixed(0)} s`, '≤ 120 s', Math.max(...small) <= 120),
    line('wall, slowest', `${slowest.toFixed(0)} s`, '≤ 600 s', slowest <= 600),
  ];
}

const geometric = (figures) => Math.exp(figures.reduce((sum, figure) => sum + Math.log(figure), 0) / figures.length);

const megabytes = (bytes) => `${(bytes / 1e6).toFixed(1)} MB`;

function machines(rows) {
  const texts = new Map();
  for (const { date, build, machine } of rows) {
    const { 'load before': _, ...facts } = machine;
    const text = `Build ${build.slice(0, 12)}. ${Object.entries(facts)
      .map(([name, value]) => `${name}: ${value}`)
      .join('; ')}.`;
    texts.set(text, [...(texts.get(text) ?? []), date.slice(0, 10)]);
  }
  return [...texts].map(([text, dates]) => `Measured on ${[...new Set(dates)].join(', ')}. ${text}`);
}
