import { BarChart as Bars, LineChart as Lines, ScatterChart as Scatter } from 'echarts/charts';
import { GridSimpleComponent, LegendPlainComponent, MarkLineComponent } from 'echarts/components';
import * as echarts from 'echarts/core';
import { SVGRenderer } from 'echarts/renderers';
import { barLabels, chartNotes, limitIsNear, number } from './format.ts';
import type { BarChart, Chart, RunChart, TrendChart } from './page.ts';

/** Colours by what they are for; the page or the file that holds the plot says what they are in light and dark. */
export const PLOT_STYLE = `
  :root { --ink: #1f2328; --muted: #59636e; --grid: #d1d9e0; --series-1: #0969da; --series-2: #bc4c00; --limit: #cf222e; }
  @media (prefers-color-scheme: dark) {
    :root { --ink: #f0f6fc; --muted: #9198a1; --grid: #3d444d; --series-1: #4493f8; --series-2: #db6d28; --limit: #f85149; }
  }`;

const WIDTH = 720;
/** Without quotes: echarts puts it into an attribute as it is. */
const FONT = 'system-ui, -apple-system, Segoe UI, sans-serif';
/** The margins hold the axis labels too. */
const FIT_LABELS = { outerBoundsMode: 'same', outerBoundsContain: 'axisLabel' } as const;
const SERIES = ['var(--series-1)', 'var(--series-2)'];
const MAX_BARS = 20;
/** Letters of a bar's label that its margin holds. */
const MAX_LABEL = 34;

/**
 * The chart as an SVG element, drawn by echarts without a browser. Its colours are variables: put `PLOT_STYLE` into the
 * page. `undefined` where there is nothing to draw. The same chart gives the same bytes.
 * @param id is unique on the page; names inside the element begin with it.
 */
export function plotElement(chart: Chart, id: string): string | undefined {
  const drawn = chart.kind === 'bars' ? bars(chart) : chart.kind === 'runs' ? runs(chart) : trend(chart);
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

/** The chart's title, with what its picture leaves out. */
export function plotTitle(chart: Chart): string {
  if (chart.kind === 'trend') return chart.title;
  const values =
    chart.kind === 'bars' ? finiteBars(chart).map(({ value }) => value) : chart.series.flatMap((each) => each.values);
  const shown = chart.kind === 'bars' ? values.slice(0, MAX_BARS) : values;
  return chart.title + chartNotes(shown, chart.unit, chart.limit, [shown.length, values.length]);
}

const finiteBars = ({ bars }: BarChart) => bars.filter(({ value }) => Number.isFinite(value));

function bars(chart: BarChart): Drawn {
  const { unit } = chart;
  const shown = finiteBars(chart).slice(0, MAX_BARS);
  if (shown.length === 0) return undefined;
  const values = shown.map(({ value }) => value);
  const limit = limitIsNear(values, chart.limit) ? chart.limit : undefined;
  const option = {
    grid: { left: 16, right: 40, top: limit === undefined ? 12 : 34, bottom: 28, ...FIT_LABELS },
    xAxis: { ...valueAxis(unit, 'middle', 28), ...reaching(values, limit) },
    yAxis: { ...categoryAxis(barLabels(shown, MAX_LABEL)), inverse: true },
    series: [
      {
        type: 'bar',
        barMaxWidth: 22,
        data: values,
        itemStyle: { color: SERIES[0] },
        ...limitLine('xAxis', limit, unit),
      },
    ],
  };
  return { height: 66 + (limit === undefined ? 0 : 22) + 34 * shown.length, option };
}

function runs({ series, unit, limit: given }: RunChart): Drawn {
  const shown = series.filter(({ values }) => values.length > 0);
  if (shown.length === 0) return undefined;
  const all = shown.flatMap(({ values }) => values);
  const limit = limitIsNear(all, given) ? given : undefined;
  const option = {
    grid: {
      left: 16,
      right: limit === undefined ? 30 : 130,
      top: shown.length > 1 ? 56 : 32,
      bottom: 28,
      ...FIT_LABELS,
    },
    legend: { show: shown.length > 1, top: 0, left: 0, itemGap: 24, textStyle: { color: 'var(--ink)' }, itemWidth: 12 },
    xAxis: {
      ...valueAxis('run', 'middle', 28),
      min: 1,
      minInterval: 1,
      max: Math.max(2, ...shown.map(({ values }) => values.length)),
    },
    yAxis: { ...valueAxis(unit, 'end', 12), min: 0, ...reaching(all, limit) },
    series: shown.map(({ name, values }, index) => ({
      name,
      type: 'scatter',
      // Two series also differ by shape, for those who see no colours.
      symbol: index === 0 ? 'circle' : 'diamond',
      symbolSize: 7,
      itemStyle: { color: SERIES[index % SERIES.length], opacity: 0.8 },
      data: values.map((value, run) => [run + 1, value]),
      ...(index === 0 ? limitLine('yAxis', limit, unit) : {}),
    })),
  };
  return { height: 320, option };
}

function trend({ points, unit, limit }: TrendChart): Drawn {
  const shown = points.filter(({ value }) => Number.isFinite(value));
  if (shown.length < 2) return undefined;
  const option = {
    grid: { left: 16, right: limit === undefined ? 40 : 130, top: 44, bottom: 16, ...FIT_LABELS },
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
        ...limitLine('yAxis', limit, unit),
      },
    ],
  };
  return { height: 280, option };
}

/** An axis that the limit lies on, where the values alone would not reach it. */
function reaching(values: readonly number[], limit: number | undefined) {
  return limit !== undefined && limit > Math.max(...values) ? { max: roundUp(1.05 * limit) } : {};
}

/** An axis about the values: a trend shows what changes, and nothing where nothing does. */
function around(values: readonly number[]) {
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const margin = 0.1 * (high - low) || 0.01 * Math.abs(high) || 1;
  const step = 10 ** Math.floor(Math.log10(margin));
  const tidy = (value: number) => Number(value.toPrecision(12));
  return { min: tidy(Math.floor((low - margin) / step) * step), max: tidy(Math.ceil((high + margin) / step) * step) };
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

function limitLine(axis: 'xAxis' | 'yAxis', limit: number | undefined, unit: string) {
  if (limit === undefined) return {};
  return {
    markLine: {
      symbol: 'none',
      silent: true,
      lineStyle: { color: 'var(--limit)', type: 'dashed' as const, width: 2 },
      label: {
        color: 'var(--limit)',
        textBorderWidth: 0,
        // Above the bars (whose axis runs downwards) or right of the plot: beside what is drawn, not on it.
        position: axis === 'xAxis' ? ('start' as const) : ('end' as const),
        formatter: `limit ${number(limit)} ${unit}`.trimEnd(),
      },
      data: [{ [axis]: limit }],
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
