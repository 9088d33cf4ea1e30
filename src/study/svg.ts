/** A plot as SVG, for a report that is one file. */
import { shown } from "../schema/study/units.ts";
import type { ReportPlot } from "./types.ts";

const [WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM] = [720, 340, 64, 200, 26, 44];
const colours = ["#1f66ad", "#b4531c", "#2d7a43", "#8a3f88", "#a83434", "#5058b0", "#6d611f", "#1d7378"];
const TICKS = 5;

/** For text and for attributes. */
export const escaped = (text: string): string => text.replace(/[&<>"']/g, (char) => `&#${char.charCodeAt(0)};`);

/** Steps of 1, 2 or 5 times a power of ten that cover the range; none is less than `least`. */
export function ticksOf(low: number, high: number, least = 0): number[] {
  const span = high - low || Math.abs(high) || 1;
  const rough = Math.max(least, span / TICKS);
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * ([1, 2, 5, 10].find((of) => of * power >= rough) as number);
  const first = Math.floor(low / step);
  const last = Math.max(Math.ceil(high / step), first + 1);
  return Array.from({ length: last - first + 1 }, (_, i) => Number(((first + i) * step).toPrecision(12)));
}

interface Axis {
  readonly ticks: readonly number[];
  /** Share of the axis. */
  at(value: number): number;
}

function axisOf(values: readonly number[], isLogarithmic = false): Axis {
  const scale = isLogarithmic ? Math.log : (value: number) => value;
  // The places of a logarithmic axis are those that were measured: powers of two are no round decimal numbers.
  const ticks = isLogarithmic
    ? [...new Set(values)].sort((a, b) => a - b)
    : ticksOf(Math.min(...values), Math.max(...values), values.every(Number.isInteger) ? 1 : 0);
  const [low, high] = [scale(ticks[0] as number), scale(ticks.at(-1) as number)];
  return { ticks, at: (value) => (scale(value) - low) / (high - low || 1) };
}

const fixed = (value: number): string => value.toFixed(1);
const tickText = (value: number): string => (Math.abs(value) >= 10_000 ? value.toLocaleString("en-US") : String(value));

export function plotSvg(plot: ReportPlot): string {
  const points = plot.series.flatMap((of) => of.points);
  if (points.length === 0) return "";
  const isLogarithmic = plot.logarithmic && points.every(([x]) => x > 0);
  const xs = axisOf(
    points.map(([x]) => x),
    isLogarithmic,
  );
  const ys = axisOf(points.map(([, y]) => y));
  const x = (value: number) => LEFT + xs.at(value) * (WIDTH - LEFT - RIGHT);
  const y = (value: number) => HEIGHT - BOTTOM - ys.at(value) * (HEIGHT - TOP - BOTTOM);
  const grid = ys.ticks.map(
    (tick) =>
      `<line x1="${LEFT}" x2="${WIDTH - RIGHT}" y1="${fixed(y(tick))}" y2="${fixed(y(tick))}" stroke="#d4d4d4"/>` +
      `<text x="${LEFT - 8}" y="${fixed(y(tick) + 4)}" text-anchor="end">${tickText(tick)}</text>`,
  );
  const below = xs.ticks.map(
    (tick) =>
      `<line x1="${fixed(x(tick))}" x2="${fixed(x(tick))}" y1="${HEIGHT - BOTTOM}" y2="${HEIGHT - BOTTOM + 4}" stroke="#555"/>` +
      `<text x="${fixed(x(tick))}" y="${HEIGHT - BOTTOM + 18}" text-anchor="middle">${tickText(tick)}</text>`,
  );
  const curves = plot.series.map(({ name, points: of }, i) => {
    const colour = colours[i % colours.length];
    const dashes = i < colours.length ? "" : ' stroke-dasharray="6 4"';
    const line = of.map(([at, value]) => `${fixed(x(at))},${fixed(y(value))}`).join(" ");
    const dots = of.map(
      ([at, value]) =>
        `<circle cx="${fixed(x(at))}" cy="${fixed(y(value))}" r="3" fill="${colour}">` +
        `<title>${escaped(`${name}: ${shown(value, plot.unit)} at ${plot.x} ${at}`)}</title></circle>`,
    );
    const legend = TOP + 12 + 20 * i;
    const left = WIDTH - RIGHT + 16;
    return (
      `<polyline points="${line}" fill="none" stroke="${colour}" stroke-width="2"${dashes}/>${dots.join("")}` +
      `<line x1="${left}" x2="${left + 24}" y1="${legend}" y2="${legend}" stroke="${colour}" stroke-width="2"${dashes}/>` +
      `<text x="${left + 30}" y="${legend + 4}">${escaped(name)}</text>`
    );
  });
  const height = Math.max(HEIGHT, TOP + 20 * (plot.series.length + 1));
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" font-family="sans-serif" font-size="12" fill="#222" role="img" aria-label="${escaped(`${plot.title}: ${plot.y} by ${plot.x}`)}">
<rect width="${WIDTH}" height="${height}" fill="#fff"/>
${[...grid, ...below, ...curves].join("\n")}
<text x="${(LEFT + WIDTH - RIGHT) / 2}" y="${HEIGHT - 8}" text-anchor="middle">${escaped(plot.x)}</text>
<text x="8" y="14">${escaped(plot.y)}</text>
</svg>`;
}
