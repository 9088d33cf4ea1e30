/** What is plotted of a run over time. */
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

/** `pace`: images a second, by step, as they were heard. */
export function Curves({ id, live, pace }: { id: string; live: boolean; pace: Curve["points"] }) {
  const load = async () => ({ steps: await service.steps(id, 500), metrics: await service.metrics(id, 500) });
  const { value } = useLive(load, live ? 5 : 3600, [id, live]);
  if (!value || value.metrics.length === 0) return <p class="quiet">Curves appear with the end of the first epoch.</p>;
  const { steps, metrics } = value;
  const ofSteps = (name: string): Curve => ({
    name,
    points: steps.map((line) => [line.step, line[name] as number] as const),
  });
  return (
    <div class="plots">
      <Plot title="Loss" x="step" curves={[ofSteps("loss")]} />
      <Plot title="kNN top-1 of held-out images" x="epoch" curves={[curve(metrics, "knn")]} />
      <Plot
        title="Cosine with the positive and the negative keys"
        x="step"
        curves={[ofSteps("positive"), ofSteps("negative")]}
      />
      <Plot title="Accuracy of finding the key among all" x="step" curves={[ofSteps("top1")]} />
      <Plot title="Learning rate" x="step" curves={[ofSteps("lr")]} />
      <Plot title="Effective rank of projections" x="epoch" curves={[curve(metrics, "spread.effectiveRank", "rank")]} />
      <Plot title="Images a second" x="step" curves={[{ name: "images/s", points: pace }]} />
      <Plot
        title="The queue's oldest keys: cosine with what they would be now"
        x="epoch"
        curves={[curve(metrics, "queue.drift", "similarity")]}
      />
      <Plot title="Age of the queue's oldest keys" x="epoch" curves={[curve(metrics, "queue.oldest", "steps")]} />
    </div>
  );
}
