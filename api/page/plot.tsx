/** A plot of curves by uPlot, in the page's colours. */
import { useEffect, useRef, useState } from "preact/hooks";
import uPlot from "uplot";

export interface Curve {
  readonly name: string;
  /** By x. */
  readonly points: readonly (readonly [x: number, y: number | null])[];
}

const colours = ["#2f7ed8", "#d9822b", "#3a9d5d", "#b0519f", "#c0453b", "#6b7fd7", "#8a7a2d", "#2b9aa0"];
const HEIGHT = 220;

/** Columns over all x that any curve has. */
function aligned(curves: readonly Curve[]): uPlot.AlignedData {
  const xs = [...new Set(curves.flatMap(({ points }) => points.map(([x]) => x)))].sort((a, b) => a - b);
  const columns = curves.map(({ points }) => {
    const at = new Map(points);
    return xs.map((x) => at.get(x) ?? null);
  });
  return [xs, ...columns] as uPlot.AlignedData;
}

function useDark(): boolean {
  const scheme = matchMedia("(prefers-color-scheme: dark)");
  const [dark, setDark] = useState(scheme.matches);
  useEffect(() => {
    const changed = () => setDark(scheme.matches);
    scheme.addEventListener("change", changed);
    return () => scheme.removeEventListener("change", changed);
  }, []);
  return dark;
}

export function Plot({ title, x, curves }: { title: string; x: string; curves: readonly Curve[] }) {
  const place = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | undefined>(undefined);
  const dark = useDark();
  const names = curves.map(({ name }) => name).join("\n");

  useEffect(() => {
    const div = place.current;
    if (!div) return undefined;
    const style = getComputedStyle(document.body);
    // A canvas knows no variables: the colour that one has come to.
    const line = getComputedStyle(div.parentElement ?? div).borderTopColor;
    const axis = { stroke: style.color, grid: { stroke: line, width: 1 }, ticks: { stroke: line, width: 1 } };
    const made = new uPlot(
      {
        width: div.clientWidth || 320,
        height: HEIGHT,
        scales: { x: { time: false } },
        axes: [
          { ...axis, label: x, labelSize: 20, size: 34 },
          { ...axis, size: 56 },
        ],
        series: [
          { label: x },
          ...curves.map(({ name }, i) => ({
            label: name,
            stroke: colours[i % colours.length] as string,
            width: 1.5,
            spanGaps: true,
            points: { show: (curves[i]?.points.length ?? 0) < 40, size: 4 },
          })),
        ],
      },
      aligned(curves),
      div,
    );
    plot.current = made;
    const fit = new ResizeObserver(() => made.setSize({ width: div.clientWidth, height: HEIGHT }));
    fit.observe(div);
    return () => {
      fit.disconnect();
      made.destroy();
    };
    // New points are set below, only new curves need a new plot.
  }, [names, x, dark]);

  useEffect(() => plot.current?.setData(aligned(curves)), [curves]);

  const last = curves.map(({ name, points }) => `${name} ${points.at(-1)?.[1] ?? "none"}`).join(", ");
  return (
    <figure>
      <figcaption>{title}</figcaption>
      <div ref={place} role="img" aria-label={`${title} by ${x}; last: ${last}`} />
    </figure>
  );
}
