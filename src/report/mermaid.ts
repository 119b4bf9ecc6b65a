import { barLabels, chartNotes, nearLimit, quantity, shorten } from './format.ts';
import type { BarChart, Chart, StripChart, TrendChart } from './page.ts';

/** Bars that can be told apart in the width GitHub gives. */
const MAX_BARS = 12;
const MAX_LABEL = 28;
/** Letters that fit below a chart side by side. */
const LETTERS_BELOW = 76;
/** Each is told from white and from GitHub's dark ground alike (contrast at least 3:1). */
const BAR_COLOUR = '#3b82f6';
const LIMIT_COLOUR = '#e5484d';

/** The chart as Mermaid that GitHub draws; `undefined` for what Mermaid has no chart for, or where there is no data. */
export function mermaid(chart: Chart): string | undefined {
  if (chart.kind === 'bars') return bars(chart);
  if (chart.kind === 'trend') return trend(chart);
  return chart.kind === 'strip' ? distances(chart) : undefined;
}

function bars({ title, unit, bars: given }: BarChart): string | undefined {
  const finite = given.filter(({ value }) => Number.isFinite(value));
  const shown = finite.slice(0, MAX_BARS);
  if (shown.length === 0) return undefined;
  const values = shown.map(({ value }) => value);
  // A line here crosses all bars: it is drawn where it limits all of them, and otherwise named at those that it limits.
  const limits = shown.map(({ limit }) => nearLimit(values, limit));
  const shared = limits.every((limit) => limit === limits[0]) ? limits[0] : undefined;
  const labelled = shown.map((bar, index) => ({ ...bar, limit: shared === undefined ? limits[index] : undefined }));
  const labels = barLabels(labelled, MAX_LABEL).map(quoted);
  const notes = chartNotes(shown, unit, finite.length);
  // The chart has no legend: the title says what the line is.
  const named = `${title}${notes}${shared === undefined ? '' : ` (line: limit ${quantity(shared, unit)})`}`;
  return chart('horizontal', named, labels, unit, values, 'bar', shared);
}

/** The lowest end of each range by its distance from the ideal: bars from zero, where the values lie close together. */
function distances({ title, unit, rows, ideal }: StripChart): string | undefined {
  if (ideal === undefined) return undefined;
  const away = (value: number) => Number(Math.abs(ideal - value).toPrecision(6));
  const far = rows
    .map(({ label, value, low, limit }) => ({
      label,
      value: away(low ?? value),
      limit: limit === undefined ? undefined : away(limit),
    }))
    .sort((a, b) => b.value - a.value);
  return bars({ kind: 'bars', title: `${title}, as ${ideal} − the lowest`, unit, bars: far });
}

function trend({ title, unit, points, limit }: TrendChart): string | undefined {
  const shown = points.filter(({ value }) => Number.isFinite(value)).slice(-MAX_BARS);
  if (shown.length < 2) return undefined;
  // Mermaid writes labels over one another where they do not fit: then runs are counted, and the title dates them.
  const times = shown.map(({ label }) => shorten(label, MAX_LABEL));
  const fit = times.reduce((sum, time) => sum + time.length + 2, 0) <= LETTERS_BELOW;
  const labels = (fit ? times : times.map((_, index) => `${index + 1}`)).map(quoted);
  const dated = fit ? title : `${title}, ${times[0]} to ${times.at(-1)}`;
  const named = limit === undefined ? dated : `${dated} (red: limit ${quantity(limit, unit)})`;
  return chart(
    '',
    named,
    labels,
    unit,
    shown.map(({ value }) => value),
    'line',
    limit,
  );
}

function chart(
  orientation: string,
  title: string,
  labels: readonly string[],
  unit: string,
  values: readonly number[],
  mark: 'bar' | 'line',
  limit: number | undefined,
): string {
  const all = limit === undefined ? values : [...values, limit];
  const top = Math.max(...all);
  // Bars begin at zero, or they lie; a trend shows what changes.
  const bottom = mark === 'bar' ? Math.min(0, ...all) : Math.min(...all);
  const margin = 0.05 * (top - bottom) || 0.01 * Math.abs(top) || 1;
  const height = orientation === '' ? 300 : 90 + 36 * labels.length;
  const config = {
    xyChart: { width: 720, height, titleFontSize: 16 },
    themeVariables: { xyChart: { plotColorPalette: `${BAR_COLOUR}, ${LIMIT_COLOUR}` } },
  };
  return [
    `%%{init: ${JSON.stringify(config)}}%%`,
    `xychart-beta ${orientation}`.trimEnd(),
    `  title ${quoted(title)}`,
    `  x-axis [${labels.join(', ')}]`,
    `  y-axis ${quoted(unit === '' ? ' ' : unit)} ${plain(mark === 'bar' ? bottom : bottom - margin)} --> ${plain(top + margin)}`,
    `  ${mark} [${values.map(plain).join(', ')}]`,
    ...(limit === undefined ? [] : [`  line [${values.map(() => plain(limit)).join(', ')}]`]),
  ].join('\n');
}

/** Text between double quotes, without what Mermaid would read: quotes, Markdown, comments, entities, line ends. */
function quoted(text: string): string {
  const safe = text
    .replace(/[\p{Cc}\u2028\u2029]+/gu, ' ')
    .replace(/["`]/g, "'")
    .replace(/[<>]/g, (sign) => (sign === '<' ? '‹' : '›'))
    .replace(/[#;{}]/g, ' ')
    .replace(/%%+/g, '%');
  return `"${safe}"`;
}

/** A number without exponent, which Mermaid does not read. */
function plain(value: number): string {
  return value.toFixed(12).replace(/\.?0+$/, '');
}
