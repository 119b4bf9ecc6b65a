import { BarChart as Bars, LineChart as Lines, ScatterChart as Scatter } from 'echarts/charts';
import { GridSimpleComponent, LegendPlainComponent, MarkLineComponent } from 'echarts/components';
import * as echarts from 'echarts/core';
import { SVGRenderer } from 'echarts/renderers';
import { barLabels, chartNotes, clipAt, nearLimit, number, quantile, quantity } from './format.ts';
import type { BarChart, Chart, RunChart, StripChart, TradeChart, TrendChart } from './page.ts';

/** Colours by what they are for; the page or the file that holds the plot says what they are in light and dark. */
export const PLOT_STYLE = `
  :root { --ink: #1f2328; --muted: #59636e; --grid: #d1d9e0; --series-1: #0969da; --series-2: #bc4c00; --limit: #cf222e; }
  @media (prefers-color-scheme: dark) {
    :root { --ink: #f0f6fc; --muted: #9198a1; --grid: #3d444d; --series-1: #4493f8; --series-2: #db6d28; --limit: #f85149; }
  }`;

/** Two lie side by side on a wide page, and one is still legible at the width of a phone. */
const WIDTH = 400;
/** Without quotes: echarts puts it into an attribute as it is. */
const FONT = 'system-ui, -apple-system, Segoe UI, sans-serif';
/** The margins hold the axis labels too. */
const FIT_LABELS = { outerBoundsMode: 'same', outerBoundsContain: 'axisLabel' } as const;
const SERIES = ['var(--series-1)', 'var(--series-2)'];
const MAX_BARS = 12;
/** Letters of a bar's label that its margin holds. */
const MAX_LABEL = 26;

/**
 * The chart as an SVG element, drawn by echarts without a browser. Its colours are variables: put `PLOT_STYLE` into the
 * page. `undefined` where there is nothing to draw. The same chart gives the same bytes.
 * @param id is unique on the page; names inside the element begin with it.
 */
export function plotElement(chart: Chart, id: string): string | undefined {
  const drawn = draw(chart);
  if (drawn === undefined) return undefined;
  echarts.use([Bars, Lines, Scatter, GridSimpleComponent, LegendPlainComponent, MarkLineComponent, SVGRenderer]);
  const canvas = echarts.init(null, null, { renderer: 'svg', ssr: true, width: WIDTH, height: drawn.height });
  try {
    canvas.setOption({
      animation: false,
      textStyle: { color: 'var(--ink)', fontFamily: FONT, fontSize: 13 },
      ...drawn.option,
    });
    return tidy(canvas.renderToSVGString(), plotTitle(chart), id);
  } finally {
    canvas.dispose();
  }
}

/** The chart as an SVG file of its own, for light and dark. */
export function plotFile(chart: Chart): string | undefined {
  const element = plotElement(chart, 'plot');
  return element?.replace('>', `><style>${PLOT_STYLE}</style>`);
}

type Drawn = { height: number; option: Parameters<ReturnType<typeof echarts.init>['setOption']>[0] } | undefined;

function draw(chart: Chart): Drawn {
  switch (chart.kind) {
    case 'bars':
      return bars(chart);
    case 'strip':
      return strip(chart);
    case 'runs':
      return runs(chart);
    case 'trend':
      return trend(chart);
    case 'trade':
      return trade(chart);
  }
}

/** The chart's title, with what its picture leaves out. */
export function plotTitle(chart: Chart): string {
  const { title } = chart;
  if (chart.kind === 'bars') {
    const all = finite(chart.bars);
    return title + chartNotes(all.slice(0, MAX_BARS), chart.unit, all.length);
  }
  if (chart.kind === 'strip') {
    const all = finite(chart.rows);
    const count = Math.min(all.length, MAX_BARS);
    return count < all.length ? `${title} (the first ${count} of ${all.length})` : title;
  }
  if (chart.kind !== 'runs') return title;
  const end = clipAt(chart.series);
  if (end === undefined) return title;
  const [highest, beyond] = [
    Math.max(...chart.series.flatMap(({ values }) => values)),
    chart.series.flatMap(({ values }) => values.filter((value) => value > end)).length,
  ];
  return `${title} (${beyond} at the upper edge ${beyond === 1 ? 'is' : 'are'} beyond the scale, up to ${quantity(highest, chart.unit)})`;
}

function finite<Row extends { value: number }>(rows: readonly Row[]): Row[] {
  return rows.filter(({ value }) => Number.isFinite(value));
}

function bars(chart: BarChart): Drawn {
  const shown = finite(chart.bars).slice(0, MAX_BARS);
  if (shown.length === 0) return undefined;
  const values = shown.map(({ value }) => value);
  const limits = shown.map(({ limit }) => nearLimit(values, limit));
  const drawn = shown.map((bar, index) => ({ ...bar, limit: limits[index] }));
  const ends = [0, ...values, ...limits.flatMap((limit) => limit ?? [])];
  return rows(drawn, { ...valueAxis(chart.unit, 'middle', 28), ...scale(Math.min(...ends), Math.max(...ends)) }, [
    { type: 'bar', barWidth: 12, data: values, itemStyle: { color: SERIES[0] } },
    limitTicks(limits),
  ]);
}

function strip({ rows: given, unit, ideal, mark }: StripChart): Drawn {
  const shown = finite(given).slice(0, MAX_BARS);
  if (shown.length === 0) return undefined;
  const ends = shown.flatMap(({ value, low, high, limit, points = [] }) => [value, low, high, limit, ...points]);
  const known = [...ends, ideal, mark?.value].flatMap((end) =>
    end !== undefined && Number.isFinite(end) ? [end] : [],
  );
  const name = mark === undefined ? unit : `${unit} (dashed: ${mark.label})`;
  return rows(shown, { ...valueAxis(name, 'middle', 28), ...around(known, ideal) }, [
    {
      type: 'scatter',
      symbolSize: 7,
      itemStyle: { color: SERIES[0], opacity: 0.5 },
      data: shown.flatMap(({ points = [] }, row) => points.map((point) => [point, row])),
    },
    {
      type: 'scatter',
      z: 4,
      symbolSize: 12,
      // Among the dots that it is the mean of, it has another form and colour.
      data: shown.map(({ value, points = [] }, row) =>
        points.length > 0
          ? { value: [value, row], symbol: 'diamond', itemStyle: { color: 'var(--ink)' } }
          : { value: [value, row], itemStyle: { color: SERIES[0] } },
      ),
      markLine: {
        symbol: 'none',
        silent: true,
        animation: false,
        label: { show: false },
        lineStyle: { color: SERIES[0], type: 'solid' as const, width: 3, opacity: 0.6 },
        data: shown.flatMap(({ value, low = value, high = value, points = [] }, row) =>
          low < high && points.length === 0
            ? [[{ coord: [low, row] }, { coord: [high, row] }] as [object, object]]
            : [],
        ),
      },
    },
    limitTicks(shown.map(({ limit }) => limit)),
    ...(mark === undefined ? [] : [markedAt(mark.value)]),
  ]);
}

/** A row per value, its label in a line of its own above it: however long, it takes no room from what is drawn. */
function rows(shown: Parameters<typeof barLabels>[0], xAxis: object, series: object[]): Drawn {
  const axisLabel = { color: 'var(--ink)', inside: true, margin: 0, verticalAlign: 'bottom', padding: [0, 0, 9, 2] };
  const option = {
    grid: { left: 12, right: 20, top: 18, bottom: 28, ...FIT_LABELS },
    xAxis,
    yAxis: { ...categoryAxis(barLabels(shown, MAX_LABEL)), inverse: true, axisLabel, z: 3 },
    series,
  };
  return { height: 68 + 42 * shown.length, option };
}

/** A dashed line from top to bottom. */
function markedAt(value: number) {
  return {
    type: 'scatter',
    data: [],
    markLine: {
      symbol: 'none',
      silent: true,
      lineStyle: { color: 'var(--muted)', type: 'dashed' as const, width: 1.5 },
      label: { show: false },
      data: [{ xAxis: value }],
    },
  };
}

/** A stroke across each bar or row that has a limit; its label says which. */
function limitTicks(limits: readonly (number | undefined)[]) {
  return {
    type: 'scatter',
    symbol: 'rect',
    symbolSize: [2.5, 18],
    itemStyle: { color: 'var(--limit)' },
    z: 5,
    data: limits.flatMap((limit, row) => (limit === undefined ? [] : [[limit, row]])),
  };
}

function runs({ series, unit }: RunChart): Drawn {
  const shown = series.filter(({ values }) => values.length > 0);
  if (shown.length === 0) return undefined;
  const end = clipAt(shown);
  const top = end === undefined ? undefined : roundUp(end);
  // Beside the lines themselves, medians that are close would lie on one another.
  const named = shown.map(({ name, values }) => {
    return { name: `${name}: P50 ${quantity(quantile(values, 0.5), unit)}`.replace(/^: /, ''), values };
  });
  const option = {
    grid: { left: 12, right: 16, top: 24 + 24 * named.length, bottom: 28, ...FIT_LABELS },
    legend: { top: 0, left: 0, orient: 'vertical' as const, textStyle: { color: 'var(--ink)' }, itemWidth: 12 },
    xAxis: {
      ...valueAxis('run', 'middle', 28),
      min: 1,
      minInterval: 1,
      max: Math.max(2, ...shown.map(({ values }) => values.length)),
    },
    yAxis: { ...valueAxis(unit, 'end', 12), min: 0, ...(top === undefined ? {} : { max: top }) },
    series: named.map(({ name, values }, index) => ({
      name,
      type: 'scatter',
      // Two series also differ by shape, for those who see no colours.
      symbol: index === 0 ? 'circle' : 'diamond',
      symbolSize: 6,
      itemStyle: { color: SERIES[index % SERIES.length], opacity: 0.7 },
      data: values.map((value, run) => [run + 1, top === undefined ? value : Math.min(value, top)]),
      markLine: {
        symbol: 'none',
        silent: true,
        lineStyle: { color: SERIES[index % SERIES.length], type: 'solid' as const, width: 1.5 },
        label: { show: false },
        data: [{ yAxis: quantile(values, 0.5) }],
      },
    })),
  };
  return { height: 260 + 24 * named.length, option };
}

function trade({ points, x, y, limit }: TradeChart): Drawn {
  const shown = points.filter((point) => Number.isFinite(point.x) && Number.isFinite(point.y));
  if (shown.length < 2) return undefined;
  const of = (chosen: boolean) => shown.filter((point) => point.chosen === chosen);
  const label = { show: true, position: 'bottom' as const, color: 'var(--ink)', textBorderWidth: 0, fontSize: 12 };
  const series = (chosen: boolean) => ({
    type: 'scatter',
    symbol: chosen ? 'diamond' : 'circle',
    symbolSize: chosen ? 15 : 9,
    itemStyle: { color: SERIES[chosen ? 1 : 0] },
    labelLayout: { hideOverlap: true },
    data: of(chosen).map((point) => ({
      value: [point.x, point.y],
      label: { ...label, formatter: () => `${point.label}${chosen ? ' (chosen)' : ''}` },
    })),
    ...(chosen ? limitLine(limit) : {}),
  });
  const option = {
    grid: { left: 12, right: limit === undefined ? 40 : 76, top: 44, bottom: 28, ...FIT_LABELS },
    xAxis: { ...valueAxis(x, 'middle', 28), ...around(shown.map((point) => point.x)) },
    yAxis: {
      ...valueAxis(y, 'end', 12),
      ...around([...shown.map((point) => point.y), ...(limit === undefined ? [] : [limit])], 1),
    },
    series: [series(false), series(true)],
  };
  return { height: 320, option };
}

function trend({ points, unit, limit }: TrendChart): Drawn {
  const shown = points.filter(({ value }) => Number.isFinite(value));
  if (shown.length < 2) return undefined;
  const option = {
    grid: { left: 16, right: limit === undefined ? 40 : 84, top: 44, bottom: 16, ...FIT_LABELS },
    xAxis: { ...categoryAxis(shown.map(({ label }) => label)), boundaryGap: false },
    yAxis: {
      ...valueAxis(unit, 'end', 12),
      ...around([...shown.map(({ value }) => value), ...(limit === undefined ? [] : [limit])]),
    },
    series: [
      {
        type: 'line',
        symbol: 'circle',
        symbolSize: 7,
        data: shown.map(({ value }) => value),
        itemStyle: { color: SERIES[0] },
        lineStyle: { color: SERIES[0], width: 2 },
        ...limitLine(limit),
      },
    ],
  };
  return { height: 280, option };
}

/** An axis about the values, no further than `end`: it shows what changes, and nothing where nothing does. */
function around(values: readonly number[], end = Number.POSITIVE_INFINITY) {
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const margin = 0.1 * (high - low) || 0.01 * Math.abs(high) || 1;
  return scale(low - margin, Math.min(end, high + margin));
}

/** An axis from `low` to `high` or a little beyond, in about four steps of 1, 2 or 5 at some power of ten. */
function scale(low: number, high: number) {
  const least = (high - low || 1) / 5;
  const power = 10 ** Math.floor(Math.log10(least));
  const interval = power * ([1, 2, 5].find((factor) => factor * power >= 0.999 * least) ?? 10);
  const tidy = (steps: number) => Number((steps * interval).toPrecision(12));
  return { min: tidy(Math.floor(low / interval + 1e-9)), max: tidy(Math.ceil(high / interval - 1e-9)), interval };
}

/** To two digits. */
function roundUp(value: number): number {
  const step = 10 ** (Math.floor(Math.log10(Math.abs(value))) - 1);
  return Number((Math.ceil(value / step) * step).toPrecision(12));
}

function valueAxis(name: string, nameLocation: 'middle' | 'end', nameGap: number) {
  return {
    type: 'value' as const,
    name,
    nameLocation,
    nameGap,
    nameTextStyle: { color: 'var(--muted)', ...(nameLocation === 'end' ? { align: 'left' as const } : {}) },
    axisLabel: {
      color: 'var(--muted)',
      hideOverlap: true,
      formatter: (value: number) => String(Number(value.toPrecision(6))),
    },
    axisLine: { show: false },
    splitLine: { lineStyle: { color: 'var(--grid)' } },
  };
}

function categoryAxis(labels: string[]) {
  return {
    type: 'category' as const,
    data: labels,
    axisLabel: { color: 'var(--ink)', hideOverlap: true },
    axisTick: { show: false },
    axisLine: { lineStyle: { color: 'var(--grid)' } },
  };
}

function limitLine(limit: number | undefined) {
  if (limit === undefined) return {};
  return {
    markLine: {
      symbol: 'none',
      silent: true,
      lineStyle: { color: 'var(--limit)', type: 'dashed' as const, width: 2 },
      // Right of the plot: beside what is drawn, not on it.
      label: {
        color: 'var(--limit)',
        textBorderWidth: 0,
        position: 'end' as const,
        formatter: () => `limit ${number(limit)}`,
      },
      data: [{ yAxis: limit }],
    },
  };
}

/** Takes out what only a live chart needs, names the picture for screen readers, and makes its names this page's own. */
function tidy(svg: string, title: string, id: string): string {
  const body = svg
    .replace(/<style[\s\S]*?<\/style>/g, '')
    .replace(/ (?:ecmeta_\w+|pointer-events|class|xmlns:xlink|baseProfile|version)="[^"]*"/g, '')
    .replace(/zr\d+-/g, `${id}-`);
  const name = title.replace(/&/g, '&amp;').replace(/</g, '&lt;').replace(/"/g, '&quot;');
  return body
    .replace('<svg ', `<svg role="img" aria-label="${name}" `)
    .replace(/<svg([^>]*?) width="\d+" height="\d+"/, '<svg$1');
}
