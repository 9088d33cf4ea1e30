/** What a run on pairs of images and texts exports. */
import { beforeAll, describe, expect, spyOn, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { exportRun } from "../../cli/tools.ts";
import { blockNames, floatsOf } from "../../src/engine/state.ts";
import { exportCheckpoint } from "../../src/exchange/export.ts";
import type { EvaluationContext } from "../../src/judge/context.ts";
import { exportEncoder } from "../../src/judge/export.ts";
import { openDevice } from "../../src/kernels/index.ts";
import { parseSpec } from "../../src/schema/job.ts";
import { sha256 } from "../../src/store/files.ts";
import { LocalBlobs } from "../../src/store/local_blobs.ts";
import { RunStore } from "../../src/store/run_store.ts";
import { decodeSafetensors } from "../../src/store/safetensors.ts";
import { huggingFaceFile } from "../../src/text/hugging_face.ts";
import { openTokenizer } from "../../src/text/tokenizer.ts";
import type { Env } from "../../src/util/env.ts";
import names from "../golden/openclip_names.json";
import { relativeError, temporaryFolder } from "../support/helpers.ts";
import { channelsFirst, onnxFeatures } from "../support/onnx.ts";
import {
  CONTEXT,
  DIM,
  featuresOf,
  images,
  lengths,
  pairsRun,
  pixels,
  resnet,
  SIDE,
  tokens,
  vit,
} from "../support/pairs.ts";

beforeAll(openDevice);

describe("ONNX", () => {
  test.each([
    ["a ViT, causal", {}],
    ["a ViT, not causal", { text: { causal: false } }],
    ["a ResNet, causal", { encoder: resnet }],
    ["a small ResNet, with queues", { method: "clip-queue", encoder: { arch: "resnet10", stem: "cifar", width: 8 } }],
  ])("both towers give our features in ONNX Runtime to 1e-5: %s", (_, more) => {
    const { spec, model, checkpoint } = pairsRun(more);
    const files = exportCheckpoint(checkpoint, "x", spec, "onnx", "trained");
    const named = new Map(files.map(({ suffix, bytes }) => [suffix, bytes]));
    const ours = featuresOf(model);
    const image = onnxFeatures(named.get(".image.onnx") as Uint8Array, channelsFirst(pixels, SIDE, 3), [
      images,
      3,
      SIDE,
      SIDE,
    ]);
    expect(image.length).toBe(images * DIM);
    expect(ours.image.every((v) => v !== 0)).toBe(true);
    expect(relativeError(image, ours.image)).toBeLessThan(1e-5);
    const given = BigInt64Array.from(tokens, BigInt);
    const text = onnxFeatures(named.get(".text.onnx") as Uint8Array, given, [lengths.length, CONTEXT]);
    expect(text.length).toBe(lengths.length * DIM);
    expect(relativeError(text, ours.text)).toBeLessThan(1e-5);
  });
});

describe("OpenCLIP", () => {
  test.each([
    ["vit", {}],
    ["vit-mean", { encoder: { ...vit, pool: "mean" } }],
    ["resnet10", { encoder: { ...resnet, arch: "resnet10" }, loss: "sigmoid", bias: -10 }],
  ] as const)("names, shapes and configuration are those of its own model: %s", (name, more) => {
    const { spec, checkpoint } = pairsRun(more);
    const [{ suffix, bytes }] = exportCheckpoint(checkpoint, "x", spec, "openclip", "trained");
    expect(suffix).toBe(".openclip.safetensors");
    const { tensors, metadata } = decodeSafetensors(bytes, "x");
    expect(Object.fromEntries([...tensors].map(([own, { shape }]) => [own, [...shape]]))).toEqual(names[name].names);
    expect(JSON.parse(metadata.model_cfg as string)).toEqual(names[name].model_cfg);
    expect(metadata).toMatchObject({ source: "mocod", context_length: "12", vocabulary: "259" });
    expect(parseSpec("pretrain", JSON.parse(metadata.spec as string))).toEqual(spec);
  });

  test("a moving average is exported with the scale of the network that it follows", () => {
    const { spec, model, checkpoint } = pairsRun({ method: "clip-queue" });
    const [{ bytes }] = exportCheckpoint(checkpoint, "x", spec, "openclip", "average");
    const { tensors } = decodeSafetensors(bytes, "x");
    const { offset } = model.networks.get("momentum").params.get("token_embedding.weight");
    const theirs = floatsOf(model.state, blockNames.params("momentum"));
    expect(tensors.get("token_embedding.weight")?.data[0]).toBe(theirs[offset] as number);
    expect(tensors.get("logit_scale")?.data[0]).toBeCloseTo(Math.log(1 / 0.07), 5);
  });

  test("what OpenCLIP and timm have no model for names one that they refuse", () => {
    const small = { arch: "resnet10", stem: "cifar", width: 8 };
    const { spec, checkpoint } = pairsRun({ encoder: small, text: { causal: false } });
    const [{ bytes }] = exportCheckpoint(checkpoint, "x", spec, "openclip", "trained");
    expect(JSON.parse(decodeSafetensors(bytes, "x").metadata.model_cfg as string)).toMatchObject({
      vision_cfg: { timm_model_name: "mocod_resnet10_cifar_8" },
      text_cfg: { no_causal_mask: true, pool_type: "mean" },
    });
  });

  test("a method without a tower for texts is refused, with what it has", () => {
    const pairs = pairsRun();
    const dataset = { kind: "folder", path: "/" };
    const other = parseSpec("pretrain", { preset: "cifar", method: "moco-v3", dataset });
    const spec = { ...other, encoder: pairs.spec.encoder };
    expect(() => exportCheckpoint(pairs.checkpoint, "x", spec, "openclip", "trained")).toThrow(
      'spec.format: got "openclip", allowed: "torchvision", "timm", "onnx"; method moco-v3 has no tower for texts',
    );
  });
});

test("an export job writes the towers, the tokenizer beside them, and lists them", async () => {
  using folder = temporaryFolder();
  const { spec, checkpoint } = pairsRun();
  const runs = new LocalBlobs(folder.path);
  const [source, own] = [new RunStore(runs, "run_1"), new RunStore(runs, "run_2")];
  await source.writeCheckpoint({ step: 3, epoch: 1, knn: null }, checkpoint, spec.checkpoint);
  const context = { source, own, pretrained: spec, report: { log: () => undefined } } as unknown as EvaluationContext;
  const job = parseSpec("export", { from: "run_1", format: "onnx" });
  const tokenizers = ["run_1.tokenizer.json", "run_1.huggingface.json"];
  const resultOf = async (of: typeof job) => {
    const outcome = await exportEncoder(of, context);
    return "result" in outcome ? outcome.result : undefined;
  };
  expect(await resultOf(job)).toMatchObject({
    file: "run_1.image.onnx",
    files: ["run_1.image.onnx", "run_1.text.onnx", ...tokenizers],
    format: "onnx",
    step: 3,
    sha256: sha256((await own.read("run_1.image.onnx")) as Uint8Array),
  });
  const file = JSON.parse(new TextDecoder().decode(await own.read("run_1.tokenizer.json")));
  expect(openTokenizer(file).encode("ab")).toEqual([100, 101]);
  expect(await own.readJson("run_1.huggingface.json")).toEqual(huggingFaceFile(file, CONTEXT));
  for (const [format, files] of [
    ["openclip", ["run_1.openclip.safetensors", ...tokenizers]],
    ["timm", ["run_1.timm.safetensors"]],
  ] as const) {
    expect((await resultOf({ ...job, format }))?.files).toEqual([...files]);
  }
});

test("mocod export writes the same files, after the path of the main one", async () => {
  using folder = temporaryFolder();
  const { spec, checkpoint } = pairsRun();
  const run = new RunStore(new LocalBlobs(folder.path), "run_1");
  await run.writeJson("job.json", { spec });
  await run.writeCheckpoint({ step: 3, epoch: 1, knn: null }, checkpoint, spec.checkpoint);
  const env = { storeUrl: `file://${folder.path}` } as Env;
  const out = join(folder.path, "clip.onnx");
  const log = spyOn(console, "log").mockImplementation(() => undefined);
  await exportRun(env, "run_1", { format: "onnx", encoder: "trained", out });
  const printed = log.mock.calls.map(([line]) => String(line));
  log.mockRestore();
  const files = exportCheckpoint(checkpoint, "x", spec, "onnx", "trained");
  const names = ["clip.onnx", "clip.text.onnx", "clip.tokenizer.json", "clip.huggingface.json"];
  names.forEach((name, i) => {
    expect(printed[i]).toStartWith(`${join(folder.path, name)}: onnx, trained encoder after step 3`);
    expect(readFileSync(join(folder.path, name))).toEqual(Buffer.from(files[i]?.bytes as Uint8Array));
  });
});
