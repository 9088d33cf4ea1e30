/** In and out of PyTorch: files that PyTorch made are read, what is exported is what torchvision and ONNX expect. */
import { beforeAll, describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import * as tf from "@tensorflow/tfjs-core";
import { startPosition } from "../../src/engine/metrics.ts";
import { allocateModel, createModel, type Model, trainedParams, trainedStats } from "../../src/engine/state.ts";
import { exportCheckpoint } from "../../src/exchange/export.ts";
import { importCheckpoint } from "../../src/exchange/import.ts";
import { resizeGrid } from "../../src/exchange/positions.ts";
import { openDevice } from "../../src/kernels/index.ts";
import { parseSpec } from "../../src/schema/job.ts";
import type { PretrainSpec } from "../../src/schema/pretrain.ts";
import { readPickle } from "../../src/store/pickle.ts";
import { decodeSafetensors } from "../../src/store/safetensors.ts";
import { encodeCheckpoint, restoreCheckpoint } from "../../src/train/checkpoint.ts";
import { fill, hashedPixels } from "../golden/formulas.ts";
import { golden, relativeError } from "../support/helpers.ts";
import { channelsFirst, onnxFeatures } from "../support/onnx.ts";

beforeAll(openDevice);

const bytesOf = (name: string) => new Uint8Array(readFileSync(join(import.meta.dir, "../golden", name)));
const given = { dataset: { kind: "folder", path: "/images" }, augmentation: { size: 32 } };
const importOf = (bytes: Uint8Array, file: string) => importCheckpoint(bytes, file, { fields: given, side: 32 });
const [N, SIDE] = [4, 32];
const pixels = Float32Array.from(hashedPixels(N, SIDE), (v) => (v / 255 - 0.45) / 0.25); // NHWC

/** The main file of an export. */
const exportMain = (...of: Parameters<typeof exportCheckpoint>): Uint8Array => exportCheckpoint(...of)[0].bytes;

/** Features of the trained encoder in evaluation mode, or their projections, by our kernels. */
function featuresOf(model: Model, channels = 3, projected = false): Float32Array {
  const { trained } = model;
  const tensor = (values: Float32Array, at: { offset: number; size: number; shape: readonly number[] }) =>
    tf.tensor(values.subarray(at.offset, at.offset + at.size), [...at.shape]);
  const param = (name: string) => tensor(trainedParams(model), trained.params.get(name));
  const stat = (name: string) => tensor(trainedStats(model), trained.stats.get(name));
  const pass = { param, norm: { mode: "eval", stat } } as const;
  const out = tf.tidy(() => {
    const features = trained.backbone(pass, tf.tensor4d(pixels, [N, SIDE, SIDE, channels]));
    return projected ? trained.project(pass, features) : features;
  });
  return out.dataSync() as Float32Array;
}

describe("import of facebookresearch/moco", () => {
  test.each(["moco_new.pth.tar", "moco_old.pth.tar"])("%s, saved by PyTorch: encoder, queue and features", (name) => {
    const { spec, epochs, checkpoint } = importOf(bytesOf(name), name);
    expect(epochs).toBe(3);
    expect(spec).toMatchObject({
      method: "moco-v2",
      encoder: { arch: "resnet10", stem: "imagenet", width: 4 },
      head: "mlp",
      dim: 8,
      queueSize: 24,
      batchSize: 24,
    });
    const model = allocateModel(spec, 3, 1);
    restoreCheckpoint(checkpoint, "x", model);
    const expected = golden("checkpoint.safetensors");
    expect(relativeError(featuresOf(model), expected("features"))).toBeLessThan(1e-5);
    const { tensors } = decodeSafetensors(checkpoint, "x");
    expect(tensors.get("module.queue")?.data).toEqual(expected("queue"));
    expect(tensors.get("module.queue_ptr")?.data).toEqual(BigInt64Array.of(7n));
  });

  test("what it exports as `moco` comes back as it went", () => {
    const { spec, checkpoint } = importOf(bytesOf("moco_new.pth.tar"), "x");
    const exported = exportMain(checkpoint, "x", spec, "moco", "trained");
    const again = importOf(exported, "again.safetensors");
    expect(decodeSafetensors(again.checkpoint, "x").tensors).toEqual(decodeSafetensors(checkpoint, "x").tensors);
  });

  test("a file that is none, is cut short, misses a tensor or has another shape: what and where", () => {
    const whole = bytesOf("moco_old.pth.tar");
    expect(() => importOf(new TextEncoder().encode("no checkpoint"), "a.pth")).toThrow(
      "a.pth: is not a file of torch.save",
    );
    expect(() => importOf(whole.subarray(0, whole.length - 5), "cut.pth")).toThrow("cut.pth: is cut short");
    const zip = bytesOf("moco_new.pth.tar");
    expect(() => importOf(zip.subarray(0, zip.length - 100), "cut.zip")).toThrow("cut.zip: is a damaged zip");

    const { spec, checkpoint } = importOf(zip, "x");
    const exported = exportMain(checkpoint, "x", spec, "moco", "trained");
    const broken = (from: string, to: string) =>
      Buffer.from(Buffer.from(exported).toString("latin1").replace(from, to), "latin1");
    const missing = broken('"module.encoder_q.layer2.0.bn1.bias"', '"module.encoder_q.layer2.0.bn1.bios"');
    expect(() => importOf(missing, "m.safetensors")).toThrow(
      "m.safetensors: tensor module.encoder_q.layer2.0.bn1.bias: expected f32 [8], got none",
    );
    const misshapen = broken(
      'layer3.0.conv2.weight":{"dtype":"F32","shape":[16,16,3,3]',
      'layer3.0.conv2.weight":{"dtype":"F32","shape":[16,12,4,3]',
    );
    expect(() => importOf(misshapen, "m.safetensors")).toThrow(
      "m.safetensors: tensor module.encoder_q.layer3.0.conv2.weight: expected shape [16,16,3,3], got [16,12,4,3]",
    );
    const renamed = Buffer.from(
      Buffer.from(exported).toString("latin1").replaceAll("module.encoder_", "module.network_"),
      "latin1",
    );
    expect(() => importOf(renamed, "r.safetensors")).toThrow(
      "r.safetensors: its tensors begin with module.network_q, module.network_k, module.queue",
    );
  });
});

describe("import of others, saved by PyTorch", () => {
  const theirs = golden("checkpoint_v3.safetensors");
  const resizedByTorch = golden("positions.safetensors");
  /** Of heads that a file does not hold. */
  const narrow = { hidden: 16, dim: 8 };
  const imported = (name: string, more: object = {}) => {
    const { spec, epochs, checkpoint } = importCheckpoint(bytesOf(name), name, { fields: given, side: 32, ...more });
    const model = allocateModel(spec, 3, 1);
    restoreCheckpoint(checkpoint, "x", model);
    return { spec, epochs, model };
  };

  test("facebookresearch/moco-v3: both encoders with their heads, the predictor, features and projections", () => {
    const { spec, epochs, model } = imported("moco_v3.pth.tar", { heads: 2 });
    expect(epochs).toBe(5);
    expect(spec).toMatchObject({ method: "moco-v3", hidden: 12, dim: 8, augmentation: { size: 32 } });
    expect(spec.encoder).toMatchObject({
      patch: 8,
      width: 16,
      depth: 1,
      heads: 2,
      position: "sincos",
      pool: "token",
      mlpNorm: "layer",
      freezePatches: true,
    });
    expect(relativeError(featuresOf(model), theirs("moco_v3"))).toBeLessThan(1e-5);
    expect(relativeError(featuresOf(model, 3, true), theirs("moco_v3.projection"))).toBeLessThan(1e-5);
  });

  test("torchvision's ViT in bfloat16, its classifier left out; heads are new", () => {
    const { spec, epochs, model } = imported("vit.pth", { heads: 2, fields: { ...given, ...narrow } });
    expect([epochs, spec.method]).toEqual([0, "moco-v3"]);
    expect(spec.encoder).toMatchObject({ patch: 8, width: 16, position: "learned", freezePatches: false });
    expect(relativeError(featuresOf(model), theirs("vit"))).toBeLessThan(1e-5);
  });

  test("a ResNet of torchvision in half precision under `module.`, as any method", () => {
    const { spec, model } = imported("resnet.pth");
    expect(spec).toMatchObject({ method: "moco-v2", encoder: { arch: "resnet10", stem: "imagenet", width: 4 } });
    expect(relativeError(featuresOf(model), theirs("resnet"))).toBeLessThan(1e-5);
    const other = imported("resnet.pth", { fields: { ...given, method: "byol", ...narrow } });
    expect(other.spec.method).toBe("byol");
    expect(relativeError(featuresOf(other.model), theirs("resnet"))).toBeLessThan(1e-5);
  });

  test("what is exported for timm or torchvision comes back as it went; F16 and BF16 are read", () => {
    const { spec, model } = imported("moco_v3.pth.tar", { heads: 2 });
    const checkpoint = encodeCheckpoint(model, startPosition(spec, []));
    for (const format of ["timm", "torchvision"] as const) {
      const exported = exportMain(checkpoint, "x", spec, format, "trained");
      const again = importCheckpoint(exported, "again.safetensors", {
        fields: { ...given, ...narrow },
        side: 32,
        heads: 2,
      });
      const other = allocateModel(again.spec, 3, 1);
      restoreCheckpoint(again.checkpoint, "x", other);
      expect(featuresOf(other)).toEqual(featuresOf(model));
    }
    // 1.5 and -2 in each type.
    for (const [dtype, words] of [
      ["F16", [0x3e00, 0xc000]],
      ["BF16", [0x3fc0, 0xc000]],
    ] as const) {
      const header = JSON.stringify({ a: { dtype, shape: [2], data_offsets: [0, 4] } });
      const bytes = new Uint8Array(8 + header.length + 4);
      new DataView(bytes.buffer).setBigUint64(0, BigInt(header.length), true);
      bytes.set(new TextEncoder().encode(header), 8);
      bytes.set(new Uint8Array(Uint16Array.from(words).buffer), 8 + header.length);
      expect([...(decodeSafetensors(bytes, "x").tensors.get("a")?.data ?? [])]).toEqual([1.5, -2]);
    }
  });

  test("positions of another grid are resized where that is asked, the class token's kept", () => {
    for (const of of ["4-8", "8-4", "7-6", "14-9", "5-1", "1-4"]) {
      const [from, to] = of.split("-").map(Number) as [number, number];
      const resized = resizeGrid(resizedByTorch(`${of}.from`), from, to);
      expect(relativeError(resized, resizedByTorch(`${of}.to`))).toBeLessThan(1e-5);
    }
    for (const file of ["moco_v3.pth.tar", "vit.pth"]) {
      const [own, larger] = [32, 48].map((side) => {
        const fields = { ...given, ...narrow, augmentation: { size: side } };
        return imported(file, { heads: 2, side, interpolate: true, fields });
      }) as [ReturnType<typeof imported>, ReturnType<typeof imported>];
      expect(larger.spec.encoder).toMatchObject({ position: "learned", patch: 8 });
      const positions = ({ model }: typeof own) => {
        const { offset, size } = model.trained.params.get("pos_embed");
        return trainedParams(model).subarray(offset, offset + size);
      };
      const width = 16;
      expect(positions(larger).length).toBe((1 + 36) * width);
      expect(positions(larger).slice(0, width)).toEqual(positions(own).slice(0, width));
      expect([...positions(larger).slice(width)]).toEqual([...resizeGrid(positions(own).slice(width), 4, 6)]);
    }
  });

  test("a ViT of another side, or of heads that nobody names: what was got, what is allowed", () => {
    expect(() => imported("moco_v3.pth.tar", { heads: 2, side: 64 })).toThrow(
      "tensor module.base_encoder.pos_embed: got 17 positions, expected 65 for images of side 64: they are of images of side 32; they can be resized (--interpolate)",
    );
    expect(() => imported("vit.pth", { heads: 2, side: 30, interpolate: true })).toThrow(
      "vit.pth: has patches of 8 pixels: images of side 30 are no multiple of them",
    );
    expect(() => imported("vit.pth")).toThrow(
      "vit.pth: its ViT of width 16 is none of the named ones: give its number of heads",
    );
    expect(() => imported("vit.pth", { heads: 5 })).toThrow("its ViT of width 16 cannot have 5 heads");
    // timm's ViT-S and MoCo v3's have the same shapes, and other heads.
    const encoder = { arch: "vit-small", depth: 1, patch: 16 };
    const spec = parseSpec("pretrain", { preset: "cifar", method: "moco-v3", ...given, ...narrow, encoder });
    const checkpoint = encodeCheckpoint(createModel(spec, 3, 1), startPosition(spec, []));
    const small = exportMain(checkpoint, "x", spec, "timm", "trained");
    const take = (heads?: number) =>
      importCheckpoint(small, "s.safetensors", { fields: { ...given, ...narrow }, side: 32, heads }).spec.encoder;
    expect(() => take()).toThrow(
      "s.safetensors: its ViT of width 384 may have 6 heads (timm) or 12 (MoCo v3): give its number of heads",
    );
    expect(take(6)).toMatchObject({ heads: 6 });
  });
});

describe("a hostile pickle is refused, and runs nothing", () => {
  const pickle = (text: string) => new Uint8Array(Buffer.from(text, "latin1"));
  test.each([
    ["os.system", "cos\nsystem\n(U\x04true\x74R.", "the name os.system"],
    [
      "builtins.eval by STACK_GLOBAL",
      "\x80\x04\x8c\x08builtins\x8c\x04eval\x93\x8c\x011\x85R.",
      "the name builtins.eval",
    ],
    ["an inherited name", "cconstructor\nprototype\n.", "the name constructor.prototype"],
    ["an object made by NEWOBJ", "ccollections\nOrderedDict\n)\x81.", "opcode 0x81"],
    ["a call of a type", "ctorch\nFloatStorage\n)R.", "a call of something that is not allowed"],
    ["a call of a string", "U\x01a)R.", "a call of something that is not allowed"],
    ["an extension", "\x82\x01.", "opcode 0x82"],
    ["a string longer than the file", "X\xff\xff\xff\x7f.", "more than the file"],
    ["a pop of nothing", "0.", "a pop of nothing"],
    ["no end", "NNNN", "more than the file"],
    ["a tensor of a strange storage", "ctorch._utils\n_rebuild_tensor_v2\n(K\x01K\x00)))tR.", "a malformed tensor"],
  ])("%s", (_, text, why) => {
    expect(() => readPickle(pickle(text), "bad.pkl")).toThrow(why);
  });

  test("any change of one byte of a real file is read or refused, never anything else", () => {
    const whole = bytesOf("moco_old.pth.tar");
    for (let i = 0; i < 4000; i += 3) {
      const changed = whole.slice();
      changed[i] = (changed[i] as number) ^ (1 << (i % 8));
      try {
        importOf(changed, "changed.pth");
      } catch (error) {
        expect((error as Error).name, `byte ${i}: ${error}`).toMatch(/^(FileError|SpecError)$/);
      }
    }
  });
});

describe("export", () => {
  const make = (encoder: PretrainSpec["encoder"]) => {
    const spec = parseSpec("pretrain", { preset: "imagenet", ...given, encoder, queueSize: 256 });
    const model = createModel(spec, 3, 1);
    fill(model.trained.params.entries, trainedParams(model), 0);
    // Statistics that are not the initial ones.
    const stats = trainedStats(model);
    stats.forEach((_, i) => {
      stats[i] = 0.6 + 0.3 * Math.sin(i);
    });
    return { spec, model, checkpoint: encodeCheckpoint(model, startPosition(spec, ["queue"])) };
  };

  test.each(["resnet18", "resnet50"] as const)(
    "torchvision: %s has just the names and shapes that strict=True wants",
    (arch) => {
      const spec = parseSpec("pretrain", { preset: "imagenet", ...given, encoder: { arch }, queueSize: 256 });
      const checkpoint = encodeCheckpoint(allocateModel(spec, 3, 1), startPosition(spec, ["queue"]));
      const { tensors } = decodeSafetensors(exportMain(checkpoint, "x", spec, "torchvision", "average"), "x");
      const wanted = JSON.parse(readFileSync(join(import.meta.dir, "../golden/torchvision_names.json"), "utf8"))[arch];
      const got = Object.fromEntries([...tensors].map(([name, { shape }]) => [name, [...shape]]));
      expect(got).toEqual(wanted);
    },
  );

  const narrow = { hidden: 24, dim: 16 };
  const vit = { arch: "vit-tiny", patch: 4, width: 24, depth: 2, heads: 3 } as const;

  test("timm: a ViT has just the names and shapes of its VisionTransformer without a classifier", () => {
    const spec = parseSpec("pretrain", { preset: "cifar", method: "moco-v3", ...given, ...narrow, encoder: vit });
    const checkpoint = encodeCheckpoint(createModel(spec, 3, 1), startPosition(spec, []));
    const { tensors } = decodeSafetensors(exportMain(checkpoint, "x", spec, "timm", "average"), "x");
    const linear = (name: string, from: number, to: number) => ({
      [`${name}.weight`]: [to, from],
      [`${name}.bias`]: [to],
    });
    const norm = (name: string) => ({ [`${name}.weight`]: [24], [`${name}.bias`]: [24] });
    const block = (name: string) => ({
      ...norm(`${name}.norm1`),
      ...linear(`${name}.attn.qkv`, 24, 72),
      ...linear(`${name}.attn.proj`, 24, 24),
      ...norm(`${name}.norm2`),
      ...linear(`${name}.mlp.fc1`, 24, 96),
      ...linear(`${name}.mlp.fc2`, 96, 24),
    });
    expect(Object.fromEntries([...tensors].map(([name, { shape }]) => [name, [...shape]]))).toEqual({
      cls_token: [1, 1, 24],
      pos_embed: [1, 65, 24],
      "patch_embed.proj.weight": [24, 3, 4, 4],
      "patch_embed.proj.bias": [24],
      ...block("blocks.0"),
      ...block("blocks.1"),
      ...norm("norm"),
    });
  });

  test("torchvision: a ViT that it has no architecture for is refused, with what it has", () => {
    const spec = parseSpec("pretrain", {
      preset: "cifar",
      method: "moco-v3",
      ...given,
      ...narrow,
      encoder: { ...vit, pool: "mean" },
    });
    const checkpoint = encodeCheckpoint(createModel(spec, 3, 1), startPosition(spec, []));
    expect(() => exportMain(checkpoint, "x", spec, "torchvision", "trained")).toThrow(
      'spec.format: got "torchvision", allowed: "timm", "onnx"; torchvision has no ViT with encoder.pool mean',
    );
  });

  test.each([
    ["class token", {}],
    ["mean, learned positions, ViT-BN", { pool: "mean", position: "learned", mlpNorm: "batch" }],
    ["convolutional stem", { patch: 16, stem: "conv" }],
    ["convolutional stem for small images", { patch: 4, stem: "conv" }],
  ] as const)("ONNX: a ViT with %s gives our features in ONNX Runtime to 1e-5", (_, more) => {
    const spec = parseSpec("pretrain", {
      preset: "cifar",
      method: "moco-v3",
      ...given,
      ...narrow,
      encoder: { ...vit, ...more },
    });
    const model = createModel(spec, 3, 1);
    // Weights and statistics that are not the initial ones.
    const [params, stats] = [trainedParams(model), trainedStats(model)];
    params.forEach((v, i) => {
      params[i] = v + 0.05 * Math.sin(i);
    });
    stats.forEach((_, i) => {
      stats[i] = 0.6 + 0.3 * Math.sin(i);
    });
    expectOnnx(spec, model, encodeCheckpoint(model, startPosition(spec, [])));
  });

  for (const arch of ["resnet10", "resnet18", "resnet50"] as const) {
    for (const stem of ["cifar", "imagenet"] as const) {
      test(`ONNX: ${arch}, ${stem} stem, gives our features in ONNX Runtime to 1e-5`, () => {
        const { spec, model, checkpoint } = make({ arch, stem, width: 8 });
        expectOnnx(spec, model, checkpoint);
      });
    }
  }

  function expectOnnx(spec: PretrainSpec, model: Model, checkpoint: Uint8Array): void {
    const onnx = exportMain(checkpoint, "x", spec, "onnx", "trained");
    const features = onnxFeatures(onnx, channelsFirst(pixels, SIDE, 3), [N, 3, SIDE, SIDE]);
    expect(features.length).toBe(N * model.trained.features);
    expect(relativeError(features, featuresOf(model))).toBeLessThan(1e-5);
  }
});
