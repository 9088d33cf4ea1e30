import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { sparkline } from "../../cli/bar.ts";
import { type FoundAdapter, missingHint } from "../../src/backend/adapters.ts";
import { agreed, chooseDevice, type DeviceWish } from "../../src/backend/choose.ts";
import { topK } from "../../src/evaluate/knn.ts";
import { type Axes, fromTorch, torchShape, toTorch } from "../../src/nn/layout.ts";
import { learningRate } from "../../src/optim/schedule.ts";
import { vitDefaults } from "../../src/schema/encoder.ts";
import { parseSpec, type SpecError } from "../../src/schema/job.ts";
import { lint } from "../../src/schema/lint.ts";
import type { MocoSpec } from "../../src/schema/methods/moco.ts";
import { presets } from "../../src/schema/presets.ts";
import { methodNames } from "../../src/schema/pretrain.ts";
import { decodeSafetensors, encodeSafetensors } from "../../src/store/safetensors.ts";
import { readEnv } from "../../src/util/env.ts";
import { philox, Stream } from "../../src/util/random.ts";

describe("random numbers", () => {
  // Random123's known answers for philox4x32-10.
  test.each([
    [
      [0, 0, 0, 0],
      [0, 0],
      [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8],
    ],
    [
      [-1, -1, -1, -1],
      [-1, -1],
      [0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd],
    ],
    [
      [0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344],
      [0xa4093822, 0x299f31d0],
      [0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1],
    ],
  ])("philox of %p is known", (counter, key, expected) => {
    const block = Uint32Array.from(counter);
    philox(block, key[0] as number, key[1] as number);
    expect([...block]).toEqual(expected);
  });

  test("a stream is a function of its key, and streams differ", () => {
    const draw = (...key: [number, "view" | "order", number]) => {
      const stream = new Stream(...key);
      return Array.from({ length: 9 }, () => stream.u32());
    };
    expect(draw(1, "view", 2)).toEqual(draw(1, "view", 2));
    expect(draw(1, "view", 2)).not.toEqual(draw(2, "view", 2));
    expect(draw(1, "view", 2)).not.toEqual(draw(1, "order", 2));
    expect(draw(1, "view", 2)).not.toEqual(draw(1, "view", 3));
  });

  test("uniform and normal have their moments", () => {
    const stream = new Stream(3, "probe");
    const n = 20_000;
    const moments = (values: number[]) => {
      const mean = values.reduce((a, b) => a + b) / n;
      return [mean, values.reduce((a, b) => a + (b - mean) ** 2, 0) / n] as const;
    };
    const [um, uv] = moments(Array.from({ length: n }, () => stream.uniform()));
    const [nm, nv] = moments(Array.from({ length: n }, () => stream.normal()));
    expect(Math.abs(um - 0.5)).toBeLessThan(0.01);
    expect(Math.abs(uv - 1 / 12)).toBeLessThan(0.005);
    expect(Math.abs(nm)).toBeLessThan(0.03);
    expect(Math.abs(nv - 1)).toBeLessThan(0.05);
  });

  test("a permutation holds every index once", () => {
    expect([...new Stream(1, "order").permutation(100)].sort((a, b) => a - b)).toEqual([...Array(100).keys()]);
  });
});

describe("safetensors", () => {
  test("what is written is read, and the same input gives the same bytes", () => {
    const tensors = new Map([
      ["a.weight", { shape: [2, 3], data: Float32Array.of(1, -2, 3, 4.5, 5, 6) }],
      ["step", { shape: [1], data: BigInt64Array.of(7n) }],
    ]);
    const bytes = encodeSafetensors(tensors, { spec: "{}" });
    const back = decodeSafetensors(bytes, "x");
    expect(back.tensors).toEqual(tensors);
    expect(back.metadata).toEqual({ spec: "{}" });
    expect(encodeSafetensors(tensors, { spec: "{}" })).toEqual(bytes);
  });

  test("a damaged file is refused by name, whatever the damage", () => {
    const bytes = encodeSafetensors(new Map([["a", { shape: [4], data: new Float32Array(4) }]]), {});
    expect(() => decodeSafetensors(bytes.subarray(0, bytes.length - 1), "cut.safetensors")).toThrow("cut.safetensors");
    expect(() => decodeSafetensors(new Uint8Array(4), "short.safetensors")).toThrow("short.safetensors");
  });

  test("PyTorch's order of axes is undone exactly", () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 1, max: 5 }), { minLength: 1, maxLength: 4 }), (shape) => {
        const values = Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, (_, i) => i);
        const byLength: Record<number, Axes> = { 2: "linear", 4: "conv" };
        for (const axes of ["plain", byLength[shape.length] ?? "plain"] as const) {
          const of = { shape, axes };
          expect(fromTorch(of, toTorch(of, values))).toEqual(values);
          const [a, b, c, d] = shape;
          expect(torchShape(of)).toEqual({ plain: shape, linear: [b, a], conv: [d, c, a, b] }[axes] as number[]);
          if (axes === "plain") expect(toTorch(of, values)).toEqual(values);
        }
      }),
    );
  });
});

describe("specs", () => {
  const dataset = { kind: "cifar10" };

  test("a preset completes what is not given, and nested fields merge", () => {
    const spec = parseSpec("pretrain", { preset: "cifar", dataset, augmentation: { jitter: { hue: 0 } } });
    const { augmentation, ...preset } = presets.cifar["moco-v2"];
    expect<object>(spec).toEqual({
      ...preset,
      dataset: { kind: "cifar10" },
      augmentation: { ...augmentation, jitter: { ...augmentation.jitter, hue: 0 } },
    });
    expect(parseSpec("pretrain", spec)).toEqual(spec);
  });

  test("every bad field is named, with what was got and what is allowed", () => {
    let errors: unknown;
    try {
      parseSpec("pretrain", {
        dataset: { kind: "imagenet21k" },
        temperature: 0,
        encoder: { arch: "vgg" },
        colour: "red",
      });
    } catch (error) {
      errors = (error as SpecError).errors;
    }
    expect(errors).toEqual(
      expect.arrayContaining([
        expect.objectContaining({ field: "spec.dataset.kind" }),
        { field: "spec.temperature", got: 0, allowed: "more than 0" },
        { field: "spec.encoder.arch", got: "vgg", allowed: expect.stringContaining("resnet10, resnet18") },
        { field: "spec.colour", got: "red", allowed: "no such field" },
      ]),
    );
  });

  test("naming a ViT sets its width, depth, heads and a patch for the images; a preset's ResNet leaves nothing in it", () => {
    const of = (more: object) => parseSpec("pretrain", { preset: "cifar", dataset, ...more }).encoder;
    const small = vitDefaults("vit-small", 32);
    expect(small).toMatchObject({ width: 384, depth: 12, heads: 12, patch: 4, position: "sincos", pool: "token" });
    expect(of({ encoder: { arch: "vit-small" } })).toEqual(small);
    expect(of({ encoder: { arch: "vit-small", depth: 2 } })).toEqual({ ...small, depth: 2 });
    expect(of({ encoder: { arch: "vit-base" }, augmentation: { size: 224 } })).toMatchObject({ patch: 16, width: 768 });
    const again = { preset: "cifar", dataset, encoder: { arch: "vit-small", depth: 2 } };
    expect(parseSpec("pretrain", parseSpec("pretrain", again))).toEqual(parseSpec("pretrain", again));
  });

  test.each([
    [
      { arch: "vit-tiny", patch: 5 },
      "spec.augmentation.size: got 32, allowed: must be a multiple of encoder.patch (5)",
    ],
    [{ arch: "vit-tiny", heads: 5 }, "spec.encoder.width: got 192, allowed: must be a multiple of encoder.heads (5)"],
    [
      { arch: "vit-tiny", width: 1024, heads: 2 },
      "spec.encoder.heads: got 2, allowed: must be at least 4: a head has at most 256 of encoder.width (1024)",
    ],
    [
      { arch: "vit-tiny", stem: "conv", patch: 7 },
      'spec.encoder.patch: got 7, allowed: must be 2, 4, 8, 16 or 32 with encoder.stem "conv"',
    ],
    [
      { arch: "vit-tiny", width: 18, heads: 3 },
      'spec.encoder.width: got 18, allowed: must be a multiple of 4 with encoder.position "sincos"',
    ],
    [{ arch: "vit-tiny", stem: "cifar" }, 'spec.encoder.stem: got "cifar", allowed: patch, conv'],
    [{ arch: "resnet18", patch: 4 }, "spec.encoder.patch: got 4, allowed: no such field"],
  ])("an encoder of %j is refused", (encoder, message) => {
    expect(() => parseSpec("pretrain", { preset: "cifar", dataset, encoder })).toThrow(message);
  });

  test("each method has the published settings of facebookresearch/moco as `imagenet`", () => {
    const v1 = parseSpec("pretrain", { preset: "imagenet", method: "moco-v1", dataset }) as MocoSpec;
    const v2 = parseSpec("pretrain", { preset: "imagenet", dataset });
    const shared = { dim: 128, queueSize: 65536, momentum: 0.999, batchSize: 256, epochs: 200 };
    // main_moco.py's defaults, and `--mlp --moco-t 0.2 --aug-plus --cos`.
    expect(v1).toMatchObject({
      ...shared,
      method: "moco-v1",
      head: "linear",
      temperature: 0.07,
      optimizer: { lr: 0.03, momentum: 0.9, weightDecay: 1e-4, schedule: "step", milestones: [120, 160] },
      augmentation: { cropScale: [0.2, 1], jitter: { probability: 1, hue: 0.4 }, grey: 0.2, greyFirst: true, blur: 0 },
    });
    expect(v2).toMatchObject({
      ...shared,
      method: "moco-v2",
      head: "mlp",
      temperature: 0.2,
      optimizer: { lr: 0.03, schedule: "cosine" },
      augmentation: { jitter: { probability: 0.8, hue: 0.1 }, greyFirst: false, blur: 0.5 },
    });
    // One switch of the ablation alone.
    expect<object>(parseSpec("pretrain", { preset: "imagenet", method: "moco-v1", dataset, head: "mlp" })).toEqual({
      ...v1,
      head: "mlp",
    });
    expect(methodNames).toContain("moco-v1");
    expect(() => parseSpec("pretrain", { dataset, method: "moco-v9" })).toThrow(
      `spec.method: got "moco-v9", allowed: ${methodNames.join(", ")}`,
    );
    expect([0, 119, 120, 160].map((epoch) => learningRate(v1.optimizer, epoch, 200))).toEqual(
      [1, 1, 0.1, 0.01].map((f) => expect.closeTo(0.03 * f, 12)),
    );
  });

  test("fields that do not fit each other are refused", () => {
    expect(() => parseSpec("pretrain", { dataset, batchSize: 60, splits: 8 })).toThrow("multiple of splits");
    // Rules over two fields are judged though a third is wrong.
    expect(() => parseSpec("pretrain", { dataset, batchSize: 60, queueSize: 3, dim: "big" })).toThrow(
      /spec\.dim: got "big".*spec\.batchSize: got 60, allowed: must be a multiple of splits \(8\).*spec\.queueSize: got 3/,
    );
    expect(() => parseSpec("pretrain", { dataset, queueSize: 32 })).toThrow("at least batchSize");
    expect(() => parseSpec("pretrain", { dataset, queueSize: 100, symmetric: true })).toThrow("twice batchSize");
    expect(() => parseSpec("pretrain", { dataset, encoder: { stem: "imagenet" } })).toThrow(
      "spec.augmentation.size: got 28, allowed: must be at least 32, the stride of encoder.stem imagenet",
    );
    expect(() => parseSpec("pretrain", { dataset, epochs: 3, optimizer: { warmup: 3 } })).toThrow(
      "spec.optimizer.warmup: got 3, allowed: must be less than epochs (3)",
    );
  });
});

describe("the linter", () => {
  const fields = (images: number | undefined, more: object) => {
    const spec = parseSpec("pretrain", { preset: "cifar", dataset: { kind: "cifar10" }, ...more });
    return lint(spec, images).map((warning) => warning.fields.join());
  };
  test.each([
    ["the published recipe", 50_000, {}, []],
    ["ImageNet's", 1_281_167, { preset: "imagenet" }, []],
    ["a queue longer than the dataset", 3000, { batchSize: 64, momentum: 0.95 }, ["queueSize"]],
    ["a queue of more than half an epoch", 6000, { batchSize: 64, momentum: 0.95 }, ["queueSize,maskSameImage"]],
    ["the same, with own images masked", 6000, { batchSize: 64, momentum: 0.95, maskSameImage: true }, []],
    ["momentum 0", 50_000, { momentum: 0 }, ["momentum"]],
    ["momentum 1", 50_000, { momentum: 1 }, ["momentum"]],
    ["a key encoder that outruns the queue", 50_000, { momentum: 0.5, batchSize: 64 }, ["momentum,queueSize"]],
    ["a key encoder that stands still", 50_000, { momentum: 0.9999, epochs: 10 }, ["momentum,epochs"]],
    ["no shuffling", undefined, { shuffle: false }, ["splits,shuffle,norm"]],
    ["one split", undefined, { splits: 1 }, ["splits,shuffle,norm"]],
    ["splits that are normalised together", undefined, { norm: "batch" }, ["splits,shuffle,norm"]],
    [
      "two values for a batch norm",
      undefined,
      { batchSize: 16, splits: 8, augmentation: { size: 8 }, optimizer: { lr: 0.01 } },
      ["batchSize,splits,augmentation.size"],
    ],
    ["a rate for another batch", undefined, { optimizer: { lr: 3 } }, ["optimizer.lr,batchSize"]],
    ["a low temperature under an MLP head", undefined, { head: "mlp", temperature: 0.07 }, ["temperature,head"]],
    ["a high temperature", undefined, { temperature: 1 }, ["temperature"]],
  ])("%s", (_, images, more, expected) => {
    expect(fields(images, more)).toEqual(expected);
  });
});

test("the CIFAR demo's learning rates, from its own log", () => {
  const at = (epoch: number) => learningRate(presets.cifar["moco-v2"].optimizer, epoch, 200);
  for (const [epoch, lr] of [
    [1, 0.059996],
    [2, 0.059985],
    [10, 0.059631],
    [100, 0.03],
  ] as const) {
    expect(at(epoch)).toBeCloseTo(lr, 6);
  }
});

test("topK equals a full sort, ties by index", () => {
  fc.assert(
    fc.property(
      fc.array(fc.integer({ min: 0, max: 9 }), { minLength: 1, maxLength: 60 }),
      fc.integer({ min: 1, max: 70 }),
      (values, k) => {
        const sorted = values.map((v, i) => [v, i] as const).sort((a, b) => b[0] - a[0] || a[1] - b[1]);
        expect([...topK(Float32Array.from(values), k)]).toEqual(sorted.slice(0, k).map(([, i]) => i));
      },
    ),
  );
});

describe("environment", () => {
  test("defaults", () => {
    expect(readEnv({})).toMatchObject({ redisUrl: undefined, host: "127.0.0.1", port: 8787, device: "auto" });
  });

  test("every bad variable is named with what was got", () => {
    expect(() => readEnv({ MOCOD_PORT: "http", MOCOD_DEVICE: "tpu", REDIS_URL: "localhost" })).toThrow(
      /REDIS_URL: got "localhost"[\s\S]*MOCOD_PORT: got "http"[\s\S]*MOCOD_DEVICE: got "tpu"/,
    );
  });
});

describe("which device", () => {
  const adapter = (name: string, software: boolean) =>
    ({ description: { name, driver: "a driver", software } }) as FoundAdapter;
  const none = () => "the Vulkan loader is missing";
  const choose = (wish: DeviceWish, ...adapters: FoundAdapter[]) => chooseDevice(wish, async () => adapters, none);

  test("auto takes a real GPU, never one that is software; webgpu takes what there is", async () => {
    const [real, software] = [adapter("H100", false), adapter("SwiftShader", true)];
    expect((await choose("auto", software, real)).found).toBe(real);
    expect((await choose("auto", software)).found).toBeUndefined();
    expect((await choose("webgpu", software)).found).toBe(software);
    expect((await choose("webgpu", software, real)).found).toBe(real);
    expect((await choose("wasm", real)).found).toBeUndefined();
    expect(await choose("auto")).toEqual({ found: undefined, why: "WASM: the Vulkan loader is missing" });
    await expect(choose("webgpu")).rejects.toThrow("no WebGPU: the Vulkan loader is missing");
  });

  test("a spec and a worker agree, or the spec is refused with the reason", () => {
    expect(agreed("auto", "auto")).toBe("auto");
    expect(agreed("auto", "webgpu")).toBe("webgpu");
    expect(agreed("webgpu", "auto")).toBe("webgpu");
    expect([agreed("wasm", "webgpu"), agreed("auto", "wasm")]).toEqual(["wasm", "wasm"]);
    expect(() => agreed("webgpu", "wasm")).toThrow("spec.device: webgpu is asked for");
  });

  test("a missing Vulkan loader is told from a missing driver", () => {
    expect(missingHint("linux", () => false)).toContain("apt-get install libvulkan1");
    expect(missingHint("linux", () => true)).toContain("Vulkan found no device");
    expect(missingHint("darwin", () => false)).toContain("graphics driver");
  });
});

test("a sparkline: low is low, and it is never wider than asked for", () => {
  expect(sparkline([3, 2, 1])).toBe("█▅▁");
  expect(sparkline([1, 1])).toBe("▁▁");
  expect(sparkline(Array.from({ length: 1000 }, (_, i) => i)).length).toBeLessThanOrEqual(24);
  expect(sparkline([])).toBe("");
});
