/** The engine of WebGPU: a step is recorded once and replayed; nothing comes back from the device but what is asked for. */
import type * as tf from "@tensorflow/tfjs-core";
import { DeviceMemoryError } from "../../backend/errors.ts";
import type { GpuBackend } from "../../backend/gpu_backend.ts";
import type { Recording } from "../../backend/recording.ts";
import { PLACE } from "../../data/source.ts";
import { pixelBytes, type ValueBytes } from "../../data/types.ts";
import { lookRow, rowFloats } from "../../data/view.ts";
import { methodOf } from "../../methods/index.ts";
import { BLOCK, scalarsOf } from "../../optim/flat.ts";
import { branchesOf } from "../drop.ts";
import type { Engine, StepTask } from "../engine.ts";
import { watchedLayers } from "../gradient.ts";
import { figuresOf, type StepMetrics } from "../metrics.ts";
import { type Model, ringsOf } from "../state.ts";
import type { EmbedTask, EmbedTextsTask } from "../threads/tasks.ts";
import { directionsOf, inOrder, splitPositions, splitsMeet } from "../units.ts";
import { embedBatch, embedTextBatch } from "./embed.ts";
import { dealt, Feed } from "./feed.ts";
import { bytesOf, stepInputs, ViewInputs } from "./inputs.ts";
import type { Program } from "./program.ts";
import { GpuState } from "./state.ts";
import { encodeTargets, fewestPasses, trainStep } from "./step.ts";
import { tune } from "./tuning.ts";

/** Steps that may wait on the device: enough that it never waits for us, few enough to stop soon. */
const AHEAD = 3;
/** Images that are embedded at once: few images do not pay for many. */
const chunkFor = (images: number): number => (images <= 32 ? 32 : 256);

export interface GpuSettings {
  readonly model: Model;
  readonly backend: GpuBackend;
  /** As results name it. */
  readonly device: string;
  readonly channels: number;
  /** Of one value of an image; unset: 1. */
  readonly valueBytes?: ValueBytes | undefined;
  readonly mean: readonly number[];
  readonly std: readonly number[];
  /** Whether kernels are measured before they are used: on a GPU. A software adapter is the same with any of them. */
  readonly measures?: boolean;
  /** Where measurements of the device are kept; undefined: nowhere. */
  readonly tuningFile?: string;
  readonly log?: (message: string) => void;
}

/**
 * The next number of passes, all of equally many whole splits of one direction, or of whole directions; undefined: each is as
 * small as it can be already. Batch norm over the batch needs all splits of a direction at once.
 */
export function passesAfter(
  passes: number,
  directions: number,
  splits: number,
  norm: "split" | "batch" = "split",
): number | undefined {
  const most = norm === "batch" ? 1 : splits;
  const next = Array.from({ length: most }, (_, i) => directions * (i + 1)).filter(
    (n) => splits % (n / directions) === 0,
  );
  return next.find((n) => n > passes);
}

export class GpuEngine implements Engine {
  readonly threads = 1;
  passes: number;
  private readonly state: GpuState;
  private readonly inputs: Program["inputs"];
  private readonly fixed: Pick<Program, "picks" | "segments" | "layers" | "log">;
  private readonly logSlice: ReturnType<GpuState["allocate"]>["slice"];
  private readonly feed: Feed;
  private views: ViewInputs | undefined;
  private readonly recordings = new Map<string, Promise<Recording>>();
  /** Of embeddings, by their shape. */
  private readonly outputs = new Map<string, ReturnType<GpuState["allocate"]>>();
  private readonly underWay: Promise<unknown>[] = [];
  /** Rows of the log that were written and not read yet. */
  private logged = 0;

  constructor(private readonly settings: GpuSettings) {
    const { backend, model } = settings;
    const { spec, trained } = model;
    const state = new GpuState(backend, model);
    this.state = state;
    this.passes = fewestPasses(spec);
    const { batchSize, splits } = spec;
    const blocks = state.params.size / BLOCK;
    const rings = Object.keys(ringsOf(spec)).length;
    this.inputs = stepInputs(backend.device, state, {
      batch: batchSize,
      directions: directionsOf(spec),
      blocks,
      rings,
      branches: branchesOf(spec.encoder),
      scheduled: model.buffers.scheduled.length,
      context: model.buffers.tokens.length / batchSize,
    });
    const log = state.allocate([spec.logEvery, figuresOf(spec).length]);
    this.logSlice = log.slice;
    const { entries } = trained.params;
    const table = entries.flatMap(({ size, decay }, i) => [state.params.offsets[i] as number, size, Number(decay)]);
    const ofBlock = state.params.fillBlocks(new Int32Array(blocks), (i) => i);
    const constant = (values: Int32Array, shape: number[]): tf.Tensor => {
      const { tensor, slice } = state.allocate(shape, "int32");
      backend.device.queue.writeBuffer(slice.buffer, 0, values as Int32Array<ArrayBuffer>);
      return tensor;
    };
    const picks = dealt(spec, (direction, split) =>
      splitPositions(inOrder(batchSize), split, splits).map((position) => direction * batchSize + position),
    );
    this.fixed = {
      log: log.tensor,
      layers: constant(watchedLayers(spec, trained.params), [entries.length]),
      picks: constant(picks, [picks.length]),
      segments: {
        table: constant(Int32Array.from(table), [entries.length, 3]),
        ofBlock: constant(ofBlock, [blocks]),
      },
    };
    this.feed = new Feed(model, state.params, this.inputs, settings.channels);
  }

  /** Of an image in memory. */
  private get pixelBytes(): number {
    return pixelBytes(this.settings);
  }

  get device(): string {
    return this.settings.device;
  }

  load(): void {
    this.state.load();
  }

  async settle(): Promise<StepMetrics[]> {
    const known = await this.readLog();
    await this.state.save();
    return known;
  }

  async train(task: StepTask): Promise<StepMetrics[]> {
    const { spec } = this.settings.model;
    this.writeBatch(task);
    this.feed.writeRates(task.scale);
    const optimizer = { ...spec.optimizer, weightDecay: task.weightDecay };
    const averages = this.settings.model.networks.followers.map((name) => task.averages[name] as number);
    const pointers = Object.keys(ringsOf(spec)).map((name) => task.pointers[name] as number);
    this.inputs.scalars.write(scalarsOf(task.lr, optimizer, task.step, averages));
    this.inputs.counters.write(Int32Array.of(this.logged, ...pointers));
    this.submit(await this.recording("train", trainStep));
    this.logged++;
    this.underWay.push(this.settings.backend.device.queue.onSubmittedWorkDone());
    if (this.underWay.length > AHEAD) await this.underWay.shift();
    try {
      this.settings.backend.check();
    } catch (error) {
      throw error instanceof DeviceMemoryError ? this.advice(error) : error;
    }
    return this.logged === spec.logEvery ? this.readLog() : [];
  }

  async encodeTargets(task: Pick<StepTask, "epoch" | "pixels">): Promise<void> {
    this.writeBatch(task);
    this.submit(await this.recording("targets", encodeTargets));
    await this.state.save("targets");
  }

  async embed(task: EmbedTask): Promise<void> {
    const { channels, backend } = this.settings;
    const { places, indices, pixels, look, size, out, what, blocks } = task;
    const count = indices.length;
    const chunk = chunkFor(count);
    const of = (from: number) => {
      // The last chunk is filled up with its own first image.
      const at = Array.from({ length: chunk }, (_, i) => (from + i < count ? from + i : from));
      return {
        places: Float64Array.from(at.flatMap((i) => [...places.subarray(i * PLACE, (i + 1) * PLACE)])),
        samples: at.map((i) => indices[i] as number),
      };
    };
    const width = out.length / count;
    for (let from = 0; from < count; from += chunk) {
      const part = of(from);
      const row = rowFloats(channels);
      const rows = new Float32Array(chunk * row);
      part.samples.forEach((sample, i) => {
        const [height, side] = part.places.subarray(i * PLACE + 1, (i + 1) * PLACE) as unknown as [number, number];
        lookRow(rows, i * row, look, sample, height, side, channels);
      });
      const to = this.viewInputs(bytesOf(part.places, this.pixelBytes), chunk);
      to.write({ pixels, places: part.places }, this.pixelBytes, 1, rows);
      const { slice } = this.output(width, chunk);
      this.submit(
        await this.recording(
          `embed ${what} ${blocks} ${size} ${chunk}`,
          (program) => embedBatch(program, task, this.output(width, chunk).tensor, chunk),
          false,
        ),
      );
      const features = new Float32Array(await backend.readSlice(slice));
      out.set(features.subarray(0, Math.min(chunk, count - from) * width), from * width);
    }
  }

  /** As many texts at a time as a batch of training has. */
  async embedTexts({ tokens, lengths, out }: EmbedTextsTask): Promise<void> {
    const { batchSize } = this.settings.model.spec;
    const context = tokens.length / lengths.length;
    const width = out.length / lengths.length;
    for (let from = 0; from < lengths.length; from += batchSize) {
      const size = Math.min(batchSize, lengths.length - from);
      const [some, counts] = [new Int32Array(batchSize * context), new Int32Array(batchSize).fill(1)];
      some.set(tokens.subarray(from * context, (from + size) * context));
      counts.set(lengths.subarray(from, from + size));
      this.inputs.tokens.write(some);
      this.inputs.lengths.write(counts);
      const { slice, tensor } = this.output(width, batchSize);
      this.submit(await this.recording("embed texts", (program) => embedTextBatch(program, tensor), false));
      const features = new Float32Array(await this.settings.backend.readSlice(slice));
      out.set(features.subarray(0, size * width), from * width);
    }
  }

  /** Bytes on the device: of the state, and of what was recorded. */
  async memory(): Promise<number> {
    const recordings = await Promise.all(this.recordings.values());
    return recordings.reduce((sum, { bytes }) => sum + bytes, this.state.bytes);
  }

  /** The recording of what was run before, for measuring. */
  recorded(name: "train"): Promise<Recording> {
    const made = this.recordings.get(name);
    if (!made) throw new Error(`${name} was not recorded yet`);
    return made;
  }

  /** Records a step of training without running it, for images of the views' own size. */
  async record(): Promise<void> {
    const { spec } = this.settings.model;
    const views = methodOf(spec).views(spec).length;
    this.viewInputs(spec.batchSize * spec.augmentation.size ** 2 * this.pixelBytes, views * spec.batchSize);
    await this.recording("train", trainStep);
  }

  close(): void {
    this.forget();
    this.state.destroy();
  }

  private output(width: number, rows: number): ReturnType<GpuState["allocate"]> {
    const key = `${rows} ${width}`;
    const known = this.outputs.get(key) ?? this.state.allocate([rows, width]);
    this.outputs.set(key, known);
    return known;
  }

  private writeBatch({ epoch, pixels }: Pick<StepTask, "epoch" | "pixels">): void {
    const { model } = this.settings;
    const { places } = model.buffers;
    const views = methodOf(model.spec).views(model.spec).length;
    const to = this.viewInputs(bytesOf(places, this.pixelBytes), views * model.spec.batchSize);
    to.write({ pixels, places }, this.pixelBytes, views, this.feed.rowsOfViews(epoch));
    this.feed.writeBatch(epoch);
  }

  /** What to do where there is no room on the device. */
  private advice(error: DeviceMemoryError): DeviceMemoryError {
    const { spec } = this.settings.model;
    const { batchSize, splits, encoder, augmentation, precision } = spec;
    const half = precision === "mixed" ? "" : ', set spec.precision to "mixed"';
    const [part, first] = splitsMeet(spec)
      ? [`a view of ${batchSize} images`, 'Set spec.norm to "split"']
      : [`a split of ${batchSize / splits} images`, `Raise spec.splits (${splits})`];
    return new DeviceMemoryError(
      `${error.message}: ${part} has no room on the GPU. ${first}, or lower spec.batchSize (${batchSize}), spec.encoder.width ` +
        `(${encoder.width}) or spec.augmentation.size (${augmentation.size})${half}, or set spec.device to "wasm"`,
    );
  }

  /** Room for images and rows. Where it was too small all recordings are of no use any more. */
  private viewInputs(imageBytes: number, rows: number): ViewInputs {
    const { backend, model, channels } = this.settings;
    const { spec } = model;
    const most = Math.max(rows, methodOf(spec).views(spec).length * spec.batchSize, chunkFor(Number.POSITIVE_INFINITY));
    if (this.views && this.views.imageBytes >= imageBytes) return this.views;
    this.forget();
    this.views = new ViewInputs(backend.device, this.state, most, rowFloats(channels), imageBytes);
    return this.views;
  }

  private forget(): void {
    for (const made of this.recordings.values()) made.then((recording) => recording.destroy()).catch(() => undefined);
    this.recordings.clear();
  }

  /** `mixed`: whether `work` is in mixed precision, as training is where the spec says so. */
  private recording(
    name: string,
    work: (program: Program) => void,
    mixed = this.settings.model.spec.precision === "mixed",
  ): Promise<Recording> {
    const known = this.recordings.get(name);
    if (known) return known;
    const { model, backend, channels, valueBytes = 1, mean, std } = this.settings;
    const { spec, networks } = model;
    const program = {
      spec,
      method: methodOf(spec),
      networks,
      state: this.state,
      views: this.views as ViewInputs,
      inputs: this.inputs,
      ...this.fixed,
      channels,
      valueBytes,
      mean,
      std,
    };
    const made = this.fitting((passes) => {
      const whole = () => work({ ...program, passes });
      return this.tuned(whole, mixed).then(() => backend.record(whole));
    });
    this.recordings.set(name, made);
    return made;
  }

  /** In as few passes as there is room for. How many decides the order of sums, so a checkpoint remembers it. */
  private async fitting(record: (passes: number) => Promise<Recording>): Promise<Recording> {
    const { model, log = () => undefined } = this.settings;
    const { spec } = model;
    for (;;) {
      try {
        return await record(this.passes);
      } catch (error) {
        if (!(error instanceof DeviceMemoryError)) throw error;
        const next = passesAfter(this.passes, directionsOf(spec), spec.splits, spec.norm);
        if (next === undefined) throw this.advice(error);
        log(`${error.message}: the batch goes through the encoder in ${next} passes instead of ${this.passes}`);
        this.passes = next;
        // Recordings for fewer passes still hold their memory.
        for (const [name, made] of this.recordings) {
          const recording = await Promise.race([made, undefined]);
          recording?.destroy();
          if (recording) this.recordings.delete(name);
        }
      }
    }
  }

  /** Before anything is recorded on a GPU its kernels are measured; a software adapter takes the rule of thumb. */
  private async tuned(work: () => void, mixed: boolean): Promise<void> {
    const { backend, device, tuningFile: file, log = () => undefined } = this.settings;
    const possible = backend.device.features.has("timestamp-query");
    if (!possible || !(this.settings.measures ?? backend.foldsNumbers)) return;
    await tune(backend, device, work, { file, mixed, log });
  }

  private submit(recording: Recording): void {
    const { device } = this.settings.backend;
    const encoder = device.createCommandEncoder();
    recording.encode(encoder);
    device.queue.submit([encoder.finish()]);
  }

  private async readLog(): Promise<StepMetrics[]> {
    if (this.logged === 0) return [];
    const rows = new Float32Array(await this.settings.backend.readSlice(this.logSlice));
    const names = figuresOf(this.settings.model.spec);
    const known = Array.from(
      { length: this.logged },
      (_, i): StepMetrics =>
        Object.fromEntries(names.map((name, figure) => [name, rows[i * names.length + figure] as number])),
    );
    this.logged = 0;
    return known;
  }
}
