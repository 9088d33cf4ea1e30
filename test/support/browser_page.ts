/** Runs in Chrome: an exported encoder and images come in as URLs, features go out. The kernels are those of the workers. */
import * as tf from "@tensorflow/tfjs-core";
import { PlatformBrowser } from "@tensorflow/tfjs-core/dist/platforms/platform_browser";
import { useDevice } from "../../src/backend/webgpu.ts";
import { augmentViews } from "../../src/kernels/augment/views.ts";
import { registerWebgpuKernels } from "../../src/kernels/webgpu/register.ts";
import { fromTorch, type Layout } from "../../src/nn/layout.ts";
import { buildNetwork, type Pass } from "../../src/nn/network.ts";
import type { EncoderSpec } from "../../src/schema/pretrain.ts";
import { decodeSafetensors } from "../../src/store/safetensors.ts";

export interface Request {
  /** Of a safetensors file that `mocod export` wrote. */
  readonly encoder: string;
  /** Of u8[n, height, width, channels], and the rows of their views f32[n, ROW]. */
  readonly images: string;
  readonly rows: string;
  readonly sizes: { n: number; height: number; width: number; channels: number; size: number };
  readonly spec: EncoderSpec;
  readonly mean: readonly number[];
  readonly std: readonly number[];
}

// tfjs sets it itself, in a module that bundlers leave out.
tf.env().setPlatform("browser", new PlatformBrowser());

async function embed(request: Request): Promise<{ features: number[]; adapter: string }> {
  const bytes = async (url: string) => (await fetch(url)).arrayBuffer();
  const adapter = await navigator.gpu.requestAdapter();
  if (!adapter) throw new Error("this browser has no WebGPU adapter");
  const backend = useDevice(await adapter.requestDevice(), adapter.info, false);
  registerWebgpuKernels();
  await tf.setBackend("webgpu");

  const { n, height, width, channels, size } = request.sizes;
  const file = decodeSafetensors(new Uint8Array(await bytes(request.encoder)), request.encoder);
  const encoder = buildNetwork(request.spec, channels, 32);
  const tensors = (layout: Layout) =>
    new Map(
      layout.entries.map((entry) => {
        const { name, shape } = entry;
        const data = file.tensors.get(name)?.data;
        if (!(data instanceof Float32Array)) throw new Error(`the file holds no ${name}`);
        return [name, tf.tensor(fromTorch(entry, data), [...shape])];
      }),
    );
  const [params, stats] = [tensors(encoder.params), tensors(encoder.stats)];
  const pass: Pass = {
    param: (name) => params.get(name) as tf.Tensor,
    norm: { mode: "eval", stat: (name) => stats.get(name) as tf.Tensor },
  };
  const imageBytes = height * width * channels;
  const places = Int32Array.from(
    { length: 3 * n },
    (_, i) => [Math.floor(i / 3) * imageBytes, height, width][i % 3] as number,
  );
  const views = augmentViews(
    {
      pixels: tf.tensor1d(new Int32Array(await bytes(request.images)), "int32"),
      places: tf.tensor2d(places, [n, 3], "int32"),
      rows: tf.tensor2d(new Float32Array(await bytes(request.rows)), [n, 17]),
      picks: tf.range(0, n, 1, "int32"),
    },
    { size, channels, valueBytes: 1, mean: request.mean, std: request.std },
  );
  const features = await encoder.backbone(pass, views).data();
  backend.check();
  return { features: [...features], adapter: `${adapter.info.vendor} ${adapter.info.architecture}` };
}

Object.assign(globalThis, { embed });
