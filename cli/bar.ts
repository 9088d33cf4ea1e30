import { Presets, SingleBar } from "cli-progress";
import type { Progress } from "../src/spec/job.ts";

const clock = (seconds: number | null) =>
  seconds === null ? "--:--" : `${Math.floor(seconds / 60)}:${String(Math.round(seconds) % 60).padStart(2, "0")}`;

/** A bar on a terminal; where there is none, a line for each epoch. */
export function progressBar(): { update(p: Progress): void; stop(): void } {
  if (!process.stderr.isTTY) {
    let epoch = 0;
    return {
      update(p) {
        if (p.epoch === epoch && p.step < p.steps) return;
        epoch = p.epoch;
        console.error(`epoch ${p.epoch}/${p.epochs} step ${p.step}/${p.steps} ${details(p)}`);
      },
      stop: () => undefined,
    };
  }
  const bar = new SingleBar(
    { format: "{bar} epoch {epoch} step {value}/{total} {details}", hideCursor: true },
    Presets.shades_classic,
  );
  let started = false;
  return {
    update(p) {
      const payload = { epoch: `${p.epoch}/${p.epochs}`, details: details(p) };
      if (!started) bar.start(p.steps, p.step, payload);
      else bar.update(p.step, payload);
      started = true;
    },
    stop: () => bar.stop(),
  };
}

function details(p: Progress): string {
  const loss = p.loss === null ? "" : `loss ${p.loss.toFixed(3)}`;
  const knn = p.knn === null ? "" : ` kNN ${(100 * p.knn).toFixed(1)}`;
  return `${loss}${knn} ${Math.round(p.imagesPerSecond ?? 0)} img/s ETA ${clock(p.eta)}`;
}
