/** What can be said of a ring of targets: how old it is, and how far the network has moved since. */
import type { Position } from "../engine/metrics.ts";
import { blockNames, floatsOf, ringsOf } from "../engine/state.ts";
import { directionsOf } from "../engine/units.ts";
import type { RingSpec } from "../methods/method.ts";
import { deal, pushedPerStep, type Trainer } from "./step.ts";

export interface RingGauge {
  /** Age of the oldest row in steps. */
  oldest: number;
  /** Share of the ring that is still random vectors. */
  random: number;
  /** See `drift`. */
  drift: number | null;
}

/** Of each ring, by name. `measured`: with its drift, which costs the targets of a step. */
export async function gaugeRings(
  trainer: Trainer,
  position: Position,
  measured: boolean,
): Promise<Record<string, RingGauge>> {
  const { spec } = trainer.model;
  const gauges: Record<string, RingGauge> = {};
  for (const [ring, of] of Object.entries(ringsOf(spec))) {
    // The ring is a FIFO.
    const refresh = of.rows / pushedPerStep(spec, of);
    gauges[ring] = {
      oldest: Math.min(position.step, Math.ceil(refresh)),
      random: Math.max(0, 1 - position.step / refresh),
      drift: measured ? await drift(trainer, position, ring) : null,
    };
  }
  return gauges;
}

/**
 * Mean cosine between the rows of the oldest whole batch, as they are stored, and the targets that the network gives now for
 * the same views of the same images in the same company. Null while the ring holds random vectors.
 */
export async function drift(trainer: Trainer, position: Position, ring: string): Promise<number | null> {
  const { model, engine, batches } = trainer;
  const { spec, buffers, state } = model;
  const of = ringsOf(spec)[ring] as RingSpec;
  const { rows: capacity, dim } = of;
  const perStep = pushedPerStep(spec, of);
  const ago = Math.floor(capacity / perStep);
  const step = position.step - ago;
  if (step < 0) return null;
  await deal(trainer, step);
  await engine.encodeTargets({ epoch: Math.floor(step / batches.stepsPerEpoch), pixels: batches.source.pixels });
  const stored = floatsOf(state, blockNames.ring(ring));
  let sum = 0;
  for (let i = 0; i < perStep; i++) {
    // Stored with the last direction first.
    const direction = of.direction ?? directionsOf(spec) - 1 - Math.floor(i / spec.batchSize);
    const slot = ((position.pointers[ring] as number) + capacity - ago * perStep + i) % capacity;
    const now = (direction * spec.batchSize + (i % spec.batchSize)) * dim;
    for (let c = 0; c < dim; c++) sum += (stored[slot * dim + c] as number) * (buffers.targets[now + c] as number);
  }
  return sum / perStep;
}
