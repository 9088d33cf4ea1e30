/** A model's tensors as one flat buffer: what a thread reads, the optimiser walks and a checkpoint saves. */
import { Stream } from "../util/random.ts";

export type Init =
  | { kind: "kaiming-fan-out" }
  | { kind: "uniform"; bound: number }
  | { kind: "normal"; std: number }
  | { kind: "constant"; value: number }
  /** Whose values are given by the architecture. */
  | { kind: "table"; values: () => Float32Array };

/** How the axes of a tensor in memory become PyTorch's: HWIO -> OIHW, [in, out] -> [out, in], or as they are. */
export type Axes = "conv" | "linear" | "plain";

/** The part of parameters that the method adds to encoder and heads. */
export const OWN = "own";
/** The part of a text tower. */
export const TEXT = "text";

export interface Entry {
  /** PyTorch's name: `layer1.0.conv1.weight`. */
  readonly name: string;
  /** The shape in memory: HWIO for convolutions, [in, out] for linear layers. */
  readonly shape: readonly number[];
  readonly size: number;
  /** In floats. */
  readonly offset: number;
  readonly init: Init;
  readonly axes: Axes;
  /** Weights are decayed and scaled by LARS; biases and the gains of norms are neither. Others: see `isDecayed`. */
  readonly decay: boolean;
  /** It stays as it was initialised: it has no gradient, and the optimiser leaves it. */
  readonly frozen: boolean;
  /** The part of the network that it belongs to: `backbone`, the name of a head, `TEXT`, or `OWN`. */
  readonly part: string;
  /** Bounds that it is clamped to after every update. */
  readonly range?: readonly [low: number, high: number] | undefined;
}

/** `decayBiases` unset: SGD and AdamW decay biases and gains too, as the references' optimisers do. Not a parameter of the method's own. */
export const isDecayed = ({ part, decay }: Entry, decayBiases = true): boolean =>
  decay || (part !== OWN && decayBiases);

export class Layout {
  readonly entries: Entry[] = [];
  size = 0;
  private readonly byName = new Map<string, Entry>();

  /** @throws where the name is taken. */
  add(
    name: string,
    shape: readonly number[],
    init: Init,
    {
      part,
      axes,
      decay = true,
      frozen = false,
      range,
    }: Pick<Entry, "part" | "axes"> & Partial<Pick<Entry, "decay" | "frozen" | "range">>,
  ): void {
    if (this.byName.has(name)) throw new Error(`two tensors are named ${name}`);
    const size = shape.reduce((a, b) => a * b, 1);
    const entry: Entry = { name, shape, size, offset: this.size, init, axes, decay, frozen, part, range };
    this.entries.push(entry);
    this.byName.set(name, entry);
    this.size += size;
  }

  /** Those that are trained. */
  get trainable(): readonly Entry[] {
    return this.entries.filter(({ frozen }) => !frozen);
  }

  /** Parameters that the method adds: the last ones. */
  get own(): readonly Entry[] {
    return this.entries.filter(({ part }) => part === OWN);
  }

  get(name: string): Entry {
    const entry = this.byName.get(name);
    if (!entry) throw new Error(`the model has no tensor ${name}`);
    return entry;
  }

  /** Fills `values` f32[size] by each tensor's init: torchvision's distributions. */
  initialise(values: Float32Array, seed: number): void {
    this.entries.forEach((entry, index) => {
      const random = new Stream(seed, "init", index);
      const slice = values.subarray(entry.offset, entry.offset + entry.size);
      const { init } = entry;
      if (init.kind === "constant") slice.fill(init.value);
      else if (init.kind === "table") slice.set(init.values());
      else if (init.kind === "normal") {
        for (let i = 0; i < slice.length; i++) slice[i] = init.std * random.normal();
      } else if (init.kind === "uniform") {
        for (let i = 0; i < slice.length; i++) slice[i] = random.uniform(-init.bound, init.bound);
      } else {
        const [kh, kw, , out] = entry.shape as [number, number, number, number];
        const std = Math.sqrt(2 / (kh * kw * out));
        for (let i = 0; i < slice.length; i++) slice[i] = std * random.normal();
      }
    });
  }
}

/** A tensor's shape in memory, and what its axes are. */
export interface Oriented {
  readonly shape: readonly number[];
  readonly axes: Axes;
}

/** The shape in PyTorch's order of axes. */
export function torchShape({ shape, axes }: Oriented): number[] {
  if (axes === "conv") return [shape[3], shape[2], shape[0], shape[1]] as number[];
  return axes === "linear" ? [...shape].reverse() : [...shape];
}

function reorder({ shape, axes }: Oriented, visit: (memory: number, torch: number) => void): void {
  const [h, w, i, o] = axes === "conv" ? shape : [1, 1, ...shape];
  const [H, W, I, O] = [h, w, i, o] as [number, number, number, number];
  let memory = 0;
  for (let a = 0; a < H; a++) {
    for (let b = 0; b < W; b++) {
      for (let c = 0; c < I; c++) {
        for (let d = 0; d < O; d++) visit(memory++, ((d * I + c) * H + a) * W + b);
      }
    }
  }
}

/** Values in memory order -> values in PyTorch's order. */
export function toTorch(of: Oriented, values: Float32Array): Float32Array {
  return permuted(of, values, (out, memory, torch) => {
    out[torch] = values[memory] as number;
  });
}

/** Values in PyTorch's order -> values in memory order. */
export function fromTorch(of: Oriented, values: Float32Array): Float32Array {
  return permuted(of, values, (out, memory, torch) => {
    out[memory] = values[torch] as number;
  });
}

function permuted(
  of: Oriented,
  values: Float32Array,
  place: (out: Float32Array, memory: number, torch: number) => void,
): Float32Array {
  if (of.axes === "plain") return values.slice();
  const out = new Float32Array(values.length);
  reorder(of, (memory, torch) => place(out, memory, torch));
  return out;
}
