/** Progress on a terminal: a bar, and the loss as a sparkline; in a pipe, one line per epoch. */
import { Presets, SingleBar } from "cli-progress";
import type { Progress } from "../src/schema/job.ts";

const clock = (seconds: number | null) =>
  seconds === null ? "--:--" : `${Math.floor(seconds / 60)}:${String(Math.round(seconds) % 60).padStart(2, "0")}`;

const LEVELS = "▁▂▃▄▅▆▇█";
const WIDTH = 24;

/** Draws a sparkline of at most `width` characters, each the mean of consecutive values. */
export function sparkline(values: readonly number[], width = WIDTH): string {
  if (values.length === 0) return "";
  const step = Math.ceil(values.length / width);
  const means = Array.from({ length: Math.ceil(values.length / step) }, (_, i) => {
    const some = values.slice(i * step, (i + 1) * step);
    return some.reduce((a, b) => a + b, 0) / some.length;
  });
  const [low, high] = [Math.min(...means), Math.max(...means)];
  const level = (value: number) => Math.round(((value - low) / (high - low || 1)) * (LEVELS.length - 1));
  return means.map((value) => LEVELS[level(value)]).join("");
}

/** Starts a progress display on stderr. */
export function progressBar(): { update(p: Progress): void; stop(): void } {
  const losses: number[] = [];
  const addLoss = (p: Progress) => {
    if (p.loss !== null) losses.push(p.loss);
  };
  if (!process.stderr.isTTY) {
    let epoch = 0;
    return {
      update(p) {
        addLoss(p);
        if (p.epoch === epoch && p.step < p.steps) return;
        epoch = p.epoch;
        console.error(`${epochOf(p)}step ${p.step}/${p.steps} ${details(p)}`);
      },
      stop: () => undefined,
    };
  }
  const bar = new SingleBar(
    { format: "{bar} {epoch}step {value}/{total} {details} {spark}", hideCursor: true, barsize: 20 },
    Presets.shades_classic,
  );
  let started = false;
  return {
    update(p) {
      addLoss(p);
      const payload = { epoch: epochOf(p), details: details(p), spark: sparkline(losses) };
      if (!started) bar.start(p.steps, p.step, payload);
      else bar.update(p.step, payload);
      started = true;
    },
    stop: () => bar.stop(),
  };
}

/** Not every job on an encoder has epochs. */
const epochOf = ({ epoch, epochs }: Progress) => (epochs > 0 ? `epoch ${epoch}/${epochs} ` : "");

function details(p: Progress): string {
  const loss = p.loss === null ? "" : `loss ${p.loss.toFixed(3)}`;
  const knn = p.knn === null ? "" : ` kNN ${(100 * p.knn).toFixed(1)}`;
  return `${loss}${knn} ${Math.round(p.imagesPerSecond ?? 0)} img/s ETA ${clock(p.eta)}`;
}
