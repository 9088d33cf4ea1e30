/** What is plotted of a run over time. */
import type { Chart } from "../../src/schema/methods/method.ts";
import { useLive } from "./parts.tsx";
import { type Curve, Plot } from "./plot.tsx";
import { type Line, service } from "./service.ts";

/** `spread.effectiveRank` of a line. */
const valueAt = (line: Line, path: string): number | null => {
  const value = path
    .split(".")
    .reduce<unknown>((v, key) => (v as Record<string, unknown> | null | undefined)?.[key], line);
  return typeof value === "number" ? value : null;
};

const curve = (lines: readonly Line[], path: string, name = path): Curve => ({
  name,
  points: lines.map((line) => [line.epoch, valueAt(line, path)] as const).filter(([, y]) => y !== null),
});

/** Curves of the figures of a chart, a name each. */
function drawn({ of, figures }: Chart, steps: readonly Line[], metrics: readonly Line[]): Curve[] {
  return figures.map((figure) => {
    if (of === "epochs") return curve(metrics, figure);
    return { name: figure, points: steps.map((line) => [line.step, line[figure] as number] as const) };
  });
}

/** `pace`: images a second, by step, as they were heard. */
export function Curves({
  id,
  method,
  live,
  pace,
}: {
  id: string;
  method: string;
  live: boolean;
  pace: Curve["points"];
}) {
  const load = async () => ({
    steps: await service.steps(id, 500),
    metrics: await service.metrics(id, 500),
    charts: (await service.methods()).methods.find(({ name }) => name === method)?.charts ?? [],
  });
  const { value } = useLive(load, live ? 5 : 3600, [id, live]);
  if (!value || value.metrics.length === 0) return <p class="quiet">Curves appear with the end of the first epoch.</p>;
  const { steps, metrics, charts } = value;
  const plots: readonly Chart[] = [
    { title: "Loss", of: "steps", figures: ["loss"] },
    { title: "kNN top-1 of held-out images", of: "epochs", figures: ["knn"] },
    ...charts,
    { title: "Learning rate", of: "steps", figures: ["lr"] },
    { title: "Effective rank of projections", of: "epochs", figures: ["spread.effectiveRank"] },
  ];
  return (
    <div class="plots">
      {plots.map((chart) => (
        <Plot
          key={chart.title}
          title={chart.title}
          x={chart.of === "steps" ? "step" : "epoch"}
          curves={drawn(chart, steps, metrics)}
        />
      ))}
      <Plot title="Images a second" x="step" curves={[{ name: "images/s", points: pace }]} />
    </div>
  );
}
