/** The engine of WebGPU: a step is recorded once and replayed; nothing comes back from the device but what is asked for. */
import type * as tf from "@tensorflow/tfjs-core";
import { DeviceMemoryError } from "../../backend/errors.ts";
import type { GpuBackend } from "../../backend/gpu_backend.ts";
import type { Recording } from "../../backend/recording.ts";
import { PLACE } from "../../data/source.ts";
import { lookRow, ROW, viewRow } from "../../data/view.ts";
import { BLOCK } from "../../kernels/update/webgpu.ts";
import { inHalf } from "../../kernels/webgpu/precision.ts";
import { splitPositions } from "../../methods/moco.ts";
import type { PretrainSpec } from "../../schema/pretrain.ts";
import type { Engine, StepTask } from "../engine.ts";
import { directionsOf, type Model, type StepMetrics } from "../state.ts";
import type { EmbedTask } from "../threads/tasks.ts";
import { embedBatch } from "./embed.ts";
import { bytesOf, stepInputs, ViewInputs } from "./inputs.ts";
import { GpuState } from "./state.ts";
import { classifyStep, encodeKeys, type Program, trainStep } from "./step.ts";
import { tune } from "./tuning.ts";

/** Steps that may wait on the device: enough that it never waits for us, few enough to stop soon. */
const AHEAD = 3;
/** Images that are embedded at once: few images do not pay for many. */
const chunkFor = (images: number): number => (images <= 32 ? 32 : 256);

export interface GpuSettings {
  readonly spec: PretrainSpec;
  readonly model: Model;
  readonly backend: GpuBackend;
  /** As results name it. */
  readonly device: string;
  readonly channels: number;
  readonly mean: readonly number[];
  readonly std: readonly number[];
  /** Whether kernels are measured before they are used: on a GPU. A software adapter is the same with any of them. */
  readonly measures?: boolean;
  /** Where measurements of the device are kept; undefined: nowhere. */
  readonly tuningFile?: string;
  readonly log?: (message: string) => void;
}

/** The next number of passes, all of equally many whole splits of one direction; undefined: each is one split already. */
export function passesAfter(passes: number, directions: number, splits: number): number | undefined {
  const next = Array.from({ length: splits }, (_, i) => directions * (i + 1)).filter(
    (n) => splits % (n / directions) === 0,
  );
  return next.find((n) => n > passes);
}

export class GpuEngine implements Engine {
  readonly threads = 1;
  passes = 1;
  private readonly state: GpuState;
  private readonly inputs: Program["inputs"];
  private readonly fixed: Pick<Program, "queryPicks" | "segments" | "ring">;
  private readonly ringSlice: ReturnType<GpuState["allocate"]>["slice"];
  private views: ViewInputs | undefined;
  private readonly recordings = new Map<string, Promise<Recording>>();
  /** Of embeddings, by their shape. */
  private readonly outputs = new Map<string, ReturnType<GpuState["allocate"]>>();
  private readonly underWay: Promise<unknown>[] = [];
  /** Rows of the log that were written and not read yet. */
  private logged = 0;

  constructor(private readonly settings: GpuSettings) {
    const { backend, model, spec } = settings;
    const state = new GpuState(backend, model);
    this.state = state;
    const directions = directionsOf(spec);
    const blocks = state.params.size / BLOCK;
    this.inputs = stepInputs(backend.device, state, { batch: spec.batchSize, directions, blocks });
    const ring = state.allocate([spec.logEvery, 4]);
    this.ringSlice = ring.slice;
    const entries = state.params.layout.entries;
    const table = entries.flatMap(({ size, shape }, i) => [
      state.params.offsets[i] as number,
      size,
      Number(shape.length > 1),
    ]);
    const ofBlock = state.params.fillBlocks(new Int32Array(blocks), (i) => i);
    const constant = (values: Int32Array, shape: number[]): tf.Tensor => {
      const { tensor, slice } = state.allocate(shape, "int32");
      backend.device.queue.writeBuffer(slice.buffer, 0, values as Int32Array<ArrayBuffer>);
      return tensor;
    };
    const order = Array.from({ length: spec.batchSize }, (_, i) => i);
    const picks = this.dealt((direction, split) =>
      splitPositions(order, split, spec.splits).map((position) => direction * spec.batchSize + position),
    );
    this.fixed = {
      ring: ring.tensor,
      queryPicks: constant(picks, [picks.length]),
      segments: {
        table: constant(Int32Array.from(table), [entries.length, 3]),
        ofBlock: constant(ofBlock, [blocks]),
      },
    };
    this.inputs.rates.write(new Float32Array(blocks).fill(1));
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

  async train(task: StepTask & { queuePointer: number }): Promise<StepMetrics[]> {
    this.writeBatch(task, 2);
    this.writeKeyOrder();
    return this.run("train", trainStep, task, task.queuePointer);
  }

  async classify(task: StepTask & { scale: readonly number[] }): Promise<StepMetrics[]> {
    this.writeBatch(task, 1);
    const { rates, ids } = this.inputs;
    ids.write(this.settings.model.buffers.labels.slice());
    const { params } = this.state;
    rates.write(params.fillBlocks(new Float32Array(params.size / BLOCK), (i) => task.scale[i] as number));
    return this.run("classify", classifyStep, task, 0);
  }

  async encodeKeys(task: Omit<StepTask, "lr">): Promise<void> {
    this.writeBatch(task, 2);
    this.writeKeyOrder();
    const { spec } = this.settings;
    const work = (program: Program) => inHalf(spec.precision === "mixed", () => encodeKeys(program, false));
    this.submit(await this.recording("keys", work));
    await this.state.save("keys");
  }

  async embed(task: EmbedTask): Promise<void> {
    const { channels, backend } = this.settings;
    const { places, indices, pixels, look, size, out, what } = task;
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
      const rows = new Float32Array(chunk * ROW);
      part.samples.forEach((sample, i) => {
        const [height, side] = part.places.subarray(i * PLACE + 1, (i + 1) * PLACE) as unknown as [number, number];
        lookRow(rows, i * ROW, look, sample, height, side);
      });
      this.viewInputs(bytesOf(part.places, channels), chunk).write({ pixels, places: part.places }, channels, 1, rows);
      const { slice } = this.output(width, chunk);
      this.submit(
        await this.recording(
          `embed ${what} ${size} ${chunk}`,
          (program) => embedBatch(program, task, this.output(width, chunk).tensor, chunk),
          false,
        ),
      );
      const features = new Float32Array(await backend.readSlice(slice));
      out.set(features.subarray(0, Math.min(chunk, count - from) * width), from * width);
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
    const { spec, channels } = this.settings;
    this.viewInputs(spec.batchSize * spec.augmentation.size ** 2 * channels, 2 * spec.batchSize);
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

  /** Rows of all units, in the order in which they are encoded. */
  private dealt(rows: (direction: number, split: number) => number[]): Int32Array {
    const { spec } = this.settings;
    const units = Array.from({ length: directionsOf(spec) * spec.splits }, (_, unit) => unit);
    return Int32Array.from(units.flatMap((unit) => rows(Math.floor(unit / spec.splits), unit % spec.splits)));
  }

  private writeBatch({ epoch, pixels }: Pick<StepTask, "epoch" | "pixels">, views: number): void {
    const { spec, model, channels } = this.settings;
    const { places, batch } = model.buffers;
    const rows = new Float32Array(2 * spec.batchSize * ROW);
    for (let view = 0; view < views; view++) {
      for (let i = 0; i < spec.batchSize; i++) {
        const key = { seed: spec.seed, epoch, sample: batch[i] as number, view };
        const [height, width] = places.subarray(i * PLACE + 1, (i + 1) * PLACE) as unknown as [number, number];
        viewRow(rows, (view * spec.batchSize + i) * ROW, key, spec.augmentation, height, width);
      }
    }
    const to = this.viewInputs(bytesOf(places, channels), 2 * spec.batchSize);
    to.write({ pixels, places }, channels, views, rows);
    this.inputs.ids.write(batch.slice());
  }

  /** Keys are dealt to splits by the shuffle; each view is drawn from the other side than its query's. */
  private writeKeyOrder(): void {
    const { spec, model } = this.settings;
    const { batchSize, splits } = spec;
    const orderOf = (direction: number) =>
      model.buffers.shuffle.subarray(direction * batchSize, (direction + 1) * batchSize);
    const placed = (side: (direction: number) => number) =>
      this.dealt((direction, split) =>
        splitPositions(orderOf(direction), split, splits).map((position) => side(direction) * batchSize + position),
      );
    this.inputs.keyPicks.write(placed((direction) => 1 - direction));
    this.inputs.keyPlaces.write(placed((direction) => direction));
  }

  /** What to do where there is no room on the device. */
  private advice(error: DeviceMemoryError): DeviceMemoryError {
    const { batchSize, splits, encoder, augmentation, precision } = this.settings.spec;
    const half = precision === "mixed" ? "" : ', set spec.precision to "mixed"';
    return new DeviceMemoryError(
      `${error.message}: a split of ${batchSize / splits} images has no room on the GPU. Raise spec.splits (${splits}), or lower spec.batchSize (${batchSize}), spec.encoder.width ` +
        `(${encoder.width}) or spec.augmentation.size (${augmentation.size})${half}, or set spec.device to "wasm"`,
    );
  }

  /** Room for images and rows. Where it was too small all recordings are of no use any more. */
  private viewInputs(pixelBytes: number, rows: number): ViewInputs {
    const { backend, spec } = this.settings;
    const most = Math.max(rows, 2 * spec.batchSize, chunkFor(Number.POSITIVE_INFINITY));
    if (this.views && this.views.pixelBytes >= pixelBytes) return this.views;
    this.forget();
    this.views = new ViewInputs(backend.device, this.state, most, pixelBytes);
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
    mixed = this.settings.spec.precision === "mixed",
  ): Promise<Recording> {
    const known = this.recordings.get(name);
    if (known) return known;
    const { spec, model, backend, channels, mean, std } = this.settings;
    const views = this.views as ViewInputs;
    const common = { spec, encoder: model.encoder, state: this.state, views, inputs: this.inputs };
    const program = { ...common, ...this.fixed, channels, mean, std };
    const made = this.fitting((passes) => {
      const whole = () => work({ ...program, passes });
      return this.tuned(whole, mixed).then(() => backend.record(whole));
    });
    this.recordings.set(name, made);
    return made;
  }

  /** In as few passes as there is room for. How many decides the order of sums, so a checkpoint remembers it. */
  private async fitting(record: (passes: number) => Promise<Recording>): Promise<Recording> {
    const { spec, log = () => undefined } = this.settings;
    for (;;) {
      try {
        return await record(this.passes);
      } catch (error) {
        if (!(error instanceof DeviceMemoryError)) throw error;
        const next = passesAfter(this.passes, directionsOf(spec), spec.splits);
        if (next === undefined) throw this.advice(error);
        log(`${error.message}: the batch goes through the encoder in ${next} passes instead of ${this.passes}`);
        this.passes = next;
        // What was recorded for more room would go on taking it.
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

  private async run(
    name: string,
    work: (program: Program) => void,
    { step, lr }: StepTask,
    pointer: number,
  ): Promise<StepMetrics[]> {
    const { spec } = this.settings;
    const { momentum, beta2 } = spec.optimizer;
    this.inputs.scalars.write(Float32Array.of(lr, 1 - momentum ** (step + 1), Math.sqrt(1 - beta2 ** (step + 1)), 0));
    this.inputs.counters.write(Int32Array.of(pointer, this.logged));
    this.submit(await this.recording(name, work));
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

  private submit(recording: Recording): void {
    const { device } = this.settings.backend;
    const encoder = device.createCommandEncoder();
    recording.encode(encoder);
    device.queue.submit([encoder.finish()]);
  }

  private async readLog(): Promise<StepMetrics[]> {
    if (this.logged === 0) return [];
    const rows = new Float32Array(await this.settings.backend.readSlice(this.ringSlice));
    const known = Array.from({ length: this.logged }, (_, i): StepMetrics => {
      const [loss, top1, positive, negative] = rows.subarray(4 * i) as unknown as [number, number, number, number];
      return { loss, top1, positive, negative };
    });
    this.logged = 0;
    return known;
  }
}
