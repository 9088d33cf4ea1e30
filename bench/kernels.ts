/**
 * Every kernel at the shapes of ResNet-18 (widths 64 and 16) and ResNet-50, one thread, beside PyTorch's, and below the
 * roof of this machine's WASM: GFLOP/s, share of the measured peak, and what holds it back (Williams et al. 2009).
 *
 *     bun run bench:kernels [--json] [--match "3x3"] [--python /usr/bin/python3] [--no-peer]
 */
import { parseArgs } from "node:util";
import * as tf from "@tensorflow/tfjs-core";
import { batchNormTrain } from "../src/kernels/batch_norm/index.ts";
import type { NormAttrs } from "../src/kernels/batch_norm/names.ts";
import { keepingDerived } from "../src/kernels/derived.ts";
import { openDevice } from "../src/kernels/index.ts";
import { infoNce } from "../src/kernels/info_nce/index.ts";
import { maxPool } from "../src/kernels/max_pool/index.ts";
import { startProfile, takeProfile } from "../src/kernels/profile.ts";
import { median } from "./compare.ts";
import { textCases } from "./kernels_text.ts";
import { vitCases } from "./kernels_vit.ts";
import { measureRoof } from "./peak.ts";

const { values: args } = parseArgs({
  options: {
    json: { type: "boolean", default: false },
    match: { type: "string", default: "" },
    python: { type: "string", default: "/usr/bin/python3" },
    "no-peer": { type: "boolean", default: false },
  },
});

interface Shape {
  kernel: string;
  n: number;
  side: number;
  ci: number;
  co: number;
  size: number;
  stride: number;
}

export interface Case {
  work: string;
  /** Arithmetic of the definition, and the bytes that must move at least. */
  flop: number;
  bytes: number;
  shape?: Shape;
  /** What the peer is asked for, where it is no convolution. */
  peer?: Readonly<Record<string, string | number>>;
  /** The kernel of tfjs that is measured. */
  kernel: string;
  run(): void;
}

const CONVOLUTIONS: [n: number, side: number, ci: number, co: number, size: number, stride: number][] = [
  [32, 32, 3, 64, 3, 1],
  ...[64, 16].flatMap((w): [number, number, number, number, number, number][] => [
    [32, 32, w, w, 3, 1],
    [32, 32, w, 2 * w, 3, 2],
    [32, 32, w, 2 * w, 1, 2],
    [32, 16, 2 * w, 2 * w, 3, 1],
    [32, 8, 4 * w, 4 * w, 3, 1],
    [32, 4, 8 * w, 8 * w, 3, 1],
  ]),
  [8, 224, 3, 64, 7, 2],
  [8, 56, 64, 256, 1, 1],
  [8, 56, 64, 64, 3, 1],
  [8, 14, 1024, 256, 1, 1],
  [8, 7, 512, 2048, 1, 1],
];

await openDevice();
const random = (shape: number[]) => tf.randomNormal(shape, 0, 1, "float32", 1);

function convolution([n, side, ci, co, size, stride]: (typeof CONVOLUTIONS)[number]): Case[] {
  const pad = (size - 1) / 2;
  const out = Math.floor((side + 2 * pad - size) / stride) + 1;
  const x = random([n, side, side, ci]) as tf.Tensor4D;
  const filter = random([size, size, ci, co]) as tf.Tensor4D;
  const dy = random([n, out, out, co]) as tf.Tensor4D;
  const flop = 2 * n * out * out * size * size * ci * co;
  const bytes = 4 * (x.size + filter.size + dy.size);
  const attrs = { strides: stride, pad, inputShape: x.shape, filterShape: filter.shape, dimRoundingMode: "floor" };
  const kernel = (name: string, inputs: object) => () =>
    tf.dispose(tf.engine().runKernel(name, inputs as tf.NamedTensorMap, attrs as never));
  const of = (name: string, kernelName: string, inputs: object): Case => ({
    work: `${name} ${size}x${size} stride ${stride}, ${ci} to ${co} at ${side}, batch ${n}`,
    flop,
    bytes,
    kernel: kernelName,
    shape: { kernel: name, n, side, ci, co, size, stride },
    run: kernel(kernelName, inputs),
  });
  return [
    of("conv2d", "Conv2D", { x, filter }),
    ...(ci > 3 ? [of("conv2d input gradient", "Conv2DBackpropInput", { dy, filter })] : []),
    of("conv2d filter gradient", "Conv2DBackpropFilter", { x, dy }),
  ];
}

function norm(side: number, c: number): Case[] {
  const n = 32;
  const x = random([n, side, side, c]);
  const gamma = tf.ones([c]);
  const affine = { gamma, beta: tf.zeros([c]) };
  const dy = random(x.shape);
  const [y, mean, variance] = batchNormTrain({ x, affine }, true);
  const attrs: NormAttrs = { epsilon: 1e-5, relu: true, residual: false, groups: 1, affine: true };
  const gradient = { x, gamma, mean, variance, y, dy } as unknown as tf.NamedTensorMap;
  const shape = (kernel: string): Shape => ({ kernel, n, side, ci: c, co: c, size: 1, stride: 1 });
  const work = `with ReLU, ${c} channels at ${side}, batch ${n}`;
  return [
    {
      work: `batch norm ${work}`,
      flop: 8 * x.size,
      bytes: 8 * x.size,
      kernel: "MocodBatchNormTrain",
      shape: shape("batch norm"),
      run: () => tf.dispose(batchNormTrain({ x, affine }, true)),
    },
    {
      work: `batch norm gradient ${work}`,
      flop: 10 * x.size,
      bytes: 16 * x.size,
      kernel: "MocodBatchNormGrad",
      shape: shape("batch norm gradient"),
      run: () => tf.dispose(tf.engine().runKernel("MocodBatchNormGrad", gradient, attrs as never)),
    },
  ];
}

function others(): Case[] {
  const image = random([8, 112, 112, 64]);
  const [q, k, queue] = [random([32, 128]), random([32, 128]), random([4096, 128])];
  return [
    {
      work: "max pool 3x3 stride 2, 64 channels at 112, batch 8",
      kernel: "MocodMaxPool",
      flop: (9 * image.size) / 4,
      bytes: 4 * image.size + 2 * image.size,
      run: () => tf.dispose(maxPool(image, 3, 2, 1)),
    },
    {
      work: "InfoNCE and gradient, 32 queries, 4096 keys of 128",
      kernel: "MocodInfoNce",
      flop: 4 * 32 * 4096 * 128,
      bytes: 4 * queue.size,
      run: () => tf.dispose(Object.values(infoNce(q, k, queue, 0.1))),
    },
  ];
}

async function* linesOf(stream: ReadableStream<Uint8Array>): AsyncGenerator<string> {
  const decoder = new TextDecoder();
  let rest = "";
  for await (const chunk of stream) {
    const lines = (rest + decoder.decode(chunk, { stream: true })).split("\n");
    rest = lines.pop() as string;
    yield* lines;
  }
}

/** Median seconds, and which way the kernel went. */
function measure({ run, kernel }: Case): { seconds: number; path: string } {
  const samples: number[] = [];
  let path = "";
  keepingDerived(() => {
    for (let spent = 0, i = 0; i < 12 || spent < 150; i++) {
      takeProfile();
      const start = performance.now();
      run();
      const ms = performance.now() - start;
      spent += ms;
      if (i >= 5) samples.push(ms / 1000);
      const name = Object.keys(takeProfile()).find((entry) => entry.startsWith(`${kernel} `));
      path = name?.match(/\((.*)\)$/)?.[1] ?? "";
    }
  });
  return { seconds: median(samples), path };
}

/** Multiplications and additions that are made: Winograd's products take 36 for 144, with stride 2 81 for 144. */
function made({ flop, shape }: Case, path: string): number {
  if (!path.startsWith("Winograd") || !shape) return flop;
  const ragged = (side: number) => Math.ceil(side / 4) * 4;
  const tiled = shape.kernel === "conv2d input gradient" && shape.stride === 1 ? shape.side : shape.side / shape.stride;
  const whole = flop * (ragged(tiled) / tiled) ** 2;
  return whole * (shape.stride === 1 ? 36 / 144 : 81 / 144);
}

const cases = [
  ...CONVOLUTIONS.flatMap(convolution),
  ...[64, 16].flatMap((w) => [norm(32, w), norm(4, 8 * w)].flat()),
  ...others(),
  ...vitCases(),
  ...textCases(),
].filter(({ work }) => work.includes(args.match));
const roof = await measureRoof();
startProfile();
if (!args.json) {
  console.log(
    `roof of one thread: ${roof.gflops.toFixed(1)} GFLOP/s in registers, ${roof.gigabytes.toFixed(1)} GB/s of memory\n`,
  );
}
const peer = args["no-peer"]
  ? undefined
  : Bun.spawn([args.python, "peers/torch_kernels.py"], {
      cwd: import.meta.dir,
      stdin: "pipe",
      stdout: "pipe",
      stderr: "inherit",
    });
const answers = peer && linesOf(peer.stdout);
for (const one of cases) {
  const { seconds, path } = measure(one);
  let theirs = Number.NaN;
  const asked = one.shape ?? one.peer;
  if (peer && answers && asked) {
    peer.stdin.write(`${JSON.stringify(asked)}\n`);
    peer.stdin.flush();
    theirs = Number((await answers.next()).value);
  }
  const gflops = one.flop / seconds / 1e9;
  const flop = made(one, path);
  const share = flop / seconds / 1e9 / roof.gflops;
  const slope = (flop / one.bytes) * roof.gigabytes;
  const bound = slope < roof.gflops ? "memory" : "arithmetic";
  // A copy does no arithmetic.
  const attained =
    flop === 0 ? one.bytes / seconds / 1e9 / roof.gigabytes : flop / seconds / 1e9 / Math.min(slope, roof.gflops);
  const verdict = `bound by ${bound}, ${attained.toFixed(2)} of that roof`;
  if (args.json) {
    const rates = { ours: gflops, peer: one.flop / theirs / 1e9, ratio: theirs / seconds, unit: "GFLOP/s" };
    console.log(JSON.stringify({ work: one.work, device: "wasm", threads: 1, ...rates, path, share, verdict }));
  } else {
    const number = (v: number) => (Number.isNaN(v) ? "-" : v.toFixed(1)).padStart(6);
    console.log(
      `${one.work.padEnd(68)} ${number(gflops)} GFLOP/s, PyTorch ${number(one.flop / theirs / 1e9)}; ` +
        `${share.toFixed(2)} of the peak, ${verdict}${path && ` (${path})`}`,
    );
  }
}
peer?.stdin.end();
process.exit(0);
