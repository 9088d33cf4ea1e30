/** What a step on WebGPU is told, out of the model's buffers and into those of the device. */
import { PLACE } from "../../data/source.ts";
import { rowFloats, viewRow } from "../../data/view.ts";
import { methodOf } from "../../methods/index.ts";
import { isDecayed } from "../../nn/layout.ts";
import { BLOCK } from "../../optim/flat.ts";
import type { TrainSpec } from "../../schema/pretrain.ts";
import { branchesOf, dropFactors } from "../drop.ts";
import type { Model } from "../state.ts";
import { directionsOf, splitPositions, targetView, unitAt, unitsOf } from "../units.ts";
import type { StepInputs } from "./inputs.ts";
import type { DeviceLayout } from "./state.ts";

/** Rows of all units, in the order in which they are encoded. */
export const dealt = (spec: TrainSpec, rows: (direction: number, split: number) => number[]): Int32Array =>
  Int32Array.from(
    Array.from({ length: unitsOf(spec) }, (_, unit) => {
      const { direction, split } = unitAt(spec, unit);
      return rows(direction, split);
    }).flat(),
  );

export class Feed {
  /** The factors of the rate that the device has; undefined before the first ones. */
  private written: string | undefined;

  constructor(
    private readonly model: Model,
    private readonly params: DeviceLayout,
    private readonly inputs: StepInputs,
    private readonly channels: number,
  ) {}

  /** Factors of the rate, by parameter, and of its decay; nothing is written where the device has them already. */
  writeRates(scale: readonly number[] | undefined): void {
    const wanted = scale?.join() ?? "";
    if (wanted === this.written) return;
    const { params } = this;
    const { entries } = params.layout;
    const ofBlocks = (value: (index: number) => number) =>
      params.fillBlocks(new Float32Array(params.size / BLOCK), value);
    const rates = ofBlocks((i) => scale?.[i] ?? 1);
    const { decayBiases } = this.model.spec.optimizer;
    const decays = ofBlocks((i) => Number(isDecayed(entries[i] as (typeof entries)[number], decayBiases)));
    const both = Float32Array.from({ length: 2 * rates.length }, (_, i) => (i % 2 ? decays : rates)[i >> 1] as number);
    this.inputs.rates.write(both);
    this.written = wanted;
  }

  /** Rows of views, see `data/view.ts`, f32[V * N, rowFloats]. */
  rowsOfViews(epoch: number): Float32Array {
    const { spec, buffers } = this.model;
    const augmentations = methodOf(spec).views(spec);
    const row = rowFloats(this.channels);
    const rows = new Float32Array(augmentations.length * spec.batchSize * row);
    augmentations.forEach((augmentation, view) => {
      if (augmentation === "text") return;
      for (let i = 0; i < spec.batchSize; i++) {
        const key = { seed: spec.seed, epoch, sample: buffers.batch[i] as number, view };
        const place = buffers.places.subarray(i * PLACE + 1, (i + 1) * PLACE);
        const [height, width] = place as unknown as [number, number];
        viewRow(rows, (view * spec.batchSize + i) * row, key, augmentation, height, width, this.channels);
      }
    });
    return rows;
  }

  /** All but the views: images, classes, texts, scheduled numbers, dropped branches, the order of targets. */
  writeBatch(epoch: number): void {
    const { batch, labels, scheduled, tokens, lengths } = this.model.buffers;
    this.inputs.ids.write(batch.slice());
    this.inputs.labels.write(labels.slice());
    this.inputs.scheduled.write(scheduled.slice());
    if (tokens.length > 0) {
      this.inputs.tokens.write(tokens.slice());
      this.inputs.lengths.write(lengths.slice());
    }
    this.writeBranches(epoch);
    this.writeTargetOrder();
  }

  /** Direction d sees view d. */
  private writeBranches(epoch: number): void {
    const { spec, buffers } = this.model;
    const count = branchesOf(spec.encoder);
    if (count === 0) return;
    const views = directionsOf(spec) * spec.batchSize;
    const all = new Float32Array(count * views);
    for (let at = 0; at < views; at++) {
      const [view, position] = [Math.floor(at / spec.batchSize), at % spec.batchSize];
      const factors = dropFactors(spec, { epoch, sample: buffers.batch[position] as number, view });
      factors.forEach((factor, branch) => {
        all[branch * views + at] = factor;
      });
    }
    this.inputs.branches.write(all);
  }

  /** Images are dealt to the splits of targets by the order that was drawn; each is of the other view than the direction's. */
  private writeTargetOrder(): void {
    const { spec, buffers } = this.model;
    const { batchSize, splits } = spec;
    if (buffers.order.length === 0) return;
    const views = methodOf(spec).views(spec).length;
    const orderOf = (direction: number) => buffers.order.subarray(direction * batchSize, (direction + 1) * batchSize);
    const placed = (side: (direction: number) => number) =>
      dealt(spec, (direction, split) =>
        splitPositions(orderOf(direction), split, splits).map((position) => side(direction) * batchSize + position),
      );
    this.inputs.targetPicks.write(placed((direction) => targetView(direction, views)));
    this.inputs.targetPlaces.write(placed((direction) => direction));
  }
}
