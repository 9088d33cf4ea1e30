/** What the methods' specs allow, and closed forms of their losses. */

import { beforeAll, describe, expect, test } from "bun:test";
import * as tf from "@tensorflow/tfjs-core";
import { tooLarge } from "../../src/engine/advice.ts";
import { figuresOf } from "../../src/engine/metrics.ts";
import { classifierSpec } from "../../src/judge/fine_tune.ts";
import { openDevice } from "../../src/kernels/index.ts";
import { barlowTwins } from "../../src/methods/barlow_twins.ts";
import { ntXent } from "../../src/methods/losses/nt_xent.ts";
import { pairMetrics, sigmoidLoss, symmetricCrossEntropy } from "../../src/methods/losses/pairs.ts";
import { deviation, normalise } from "../../src/methods/losses/vectors.ts";
import { simclr } from "../../src/methods/simclr.ts";
import { simsiam } from "../../src/methods/simsiam.ts";
import { weightDecayAt } from "../../src/optim/schedule.ts";
import { fromPreset } from "../../src/schema/difference.ts";
import type { VitSpec } from "../../src/schema/encoder.ts";
import { forkSpec } from "../../src/schema/fork.ts";
import { parseSpec, SpecError } from "../../src/schema/job.ts";
import { lint } from "../../src/schema/lint.ts";
import type { BarlowTwinsSpec } from "../../src/schema/methods/barlow_twins.ts";
import type { SimclrSpec } from "../../src/schema/methods/simclr.ts";
import type { SimsiamSpec } from "../../src/schema/methods/simsiam.ts";
import type { PresetName } from "../../src/schema/presets.ts";
import { presetNames } from "../../src/schema/presets.ts";
import { methodNames, methodsWith, schemaOf } from "../../src/schema/pretrain.ts";
import { byCosine } from "../../src/util/cosine.ts";
import { relativeError, wave } from "../support/helpers.ts";

beforeAll(openDevice);

const dataset = { kind: "cifar10" };
/** A dataset that a method can be trained on. */
const datasetFor = (method: string) =>
  methodsWith("text").includes(method) ? { kind: "folder", path: "/pairs", texts: "beside" } : dataset;

function errorsOf(spec: object): string[] {
  try {
    parseSpec("pretrain", { dataset, ...spec });
    return [];
  } catch (error) {
    if (!(error instanceof SpecError)) throw error;
    return error.errors.map(({ field, got, allowed }) => `${field} ${JSON.stringify(got)}: ${allowed}`);
  }
}

describe("specs", () => {
  test.each(methodNames.flatMap((method) => presetNames.map((preset) => [method, preset] as const)))(
    "%s, preset %s is complete, and no rule of its own warns of it",
    (method, preset) => {
      const spec = parseSpec("pretrain", { method, preset, dataset: datasetFor(method) });
      expect(spec.method).toBe(method);
      expect(parseSpec("pretrain", spec)).toEqual(spec);
      expect(lint(spec).map(({ fields }) => fields[0])).toEqual([]);
    },
  );

  test("a field of another method is refused, naming the methods that have it", () => {
    expect(errorsOf({ method: "simclr", queueSize: 4096 })).toEqual([
      "spec.queueSize 4096: no such field of this method; moco-v1, moco-v2, clip-queue have it",
    ]);
    expect(errorsOf({ method: "byol", temperature: 0.1 })[0]).toContain("moco-v3, simclr, clip, clip-queue have it");
    expect(errorsOf({ method: "moco-v2", bottleneck: 64 })[0]).toContain("simsiam have it");
    expect(errorsOf({ method: "simclr", nothing: 1 })).toEqual(["spec.nothing 1: no such field"]);
    expect(errorsOf({ method: "dino" })).toEqual([`spec.method "dino": ${methodNames.join(", ")}`]);
  });

  test("a batch of 1, a dimension above what fits, splits that batch norm does not see apart", () => {
    expect(errorsOf({ method: "simclr", batchSize: 1, splits: 1 })).toEqual(["spec.batchSize 1: at least 2"]);
    expect(errorsOf({ method: "barlow-twins", dim: 10_000 })).toEqual(["spec.dim 10000: at most 8192"]);
    // One image a split is no batch norm of its own, but may be a part of one.
    expect(errorsOf({ method: "simclr", batchSize: 16, splits: 16, norm: "split" })[0]).toContain("2 images a split");
    expect(errorsOf({ method: "simclr", batchSize: 16, splits: 16, norm: "batch" })).toEqual([]);
  });

  test("a fork keeps the method and the shapes of its networks", () => {
    const source = parseSpec("pretrain", { method: "byol", dataset });
    const refused = (changes: object) => {
      try {
        forkSpec(source, changes, "weights");
        return [];
      } catch (error) {
        return (error as SpecError).errors.map(({ field }) => field);
      }
    };
    expect(refused({ momentum: 0.9, epochs: 3 })).toEqual([]);
    expect(refused({ hidden: 64 })).toEqual(["spec.hidden"]);
    expect(refused({ method: "simclr" })).toContain("spec.momentum"); // which SimCLR has not
    const moco = parseSpec("pretrain", { dataset });
    expect(forkSpec(moco, { method: "moco-v1" }, "state").method).toBe("moco-v1"); // one algorithm
    const coupled = parseSpec("pretrain", { dataset, method: "simclr" });
    expect(forkSpec(coupled, { tapes: "kept" }, "state")).toMatchObject({ method: "simclr", tapes: "kept" }); // the same bits
    expect(errorsOf({ tapes: "kept" })[0]).toContain("simclr, simsiam, barlow-twins, clip have it");
  });

  test("a preset as it is differs from no preset, whatever encoder it is asked with", () => {
    const asked: [PresetName, object][] = [
      ["imagenet", {}],
      ["small", {}],
      ["imagenet", { encoder: { arch: "vit-small" } }],
      ["imagenet", { encoder: { arch: "vit-large" } }],
      ["cifar", { encoder: { arch: "vit-tiny" }, augmentation: { size: 64 } }],
      ["small", { encoder: { arch: "resnet18" } }],
    ];
    for (const [preset, fields] of asked) {
      const spec = parseSpec("pretrain", { method: "moco-v3", preset, ...fields, dataset });
      const { preset: nearest, differences } = fromPreset(spec);
      const named = differences
        .map(({ field }) => field)
        .filter((f) => f !== "augmentation.size" && f !== "encoder.arch");
      expect([nearest, named]).toEqual([preset, []]);
    }
  });

  test("the ViT of a preset has a patch that divides the side which is asked for", () => {
    const patchAt = (size: number, encoder?: object) =>
      (parseSpec("pretrain", { method: "moco-v3", dataset, augmentation: { size }, encoder }).encoder as VitSpec).patch;
    expect([28, 32, 64, 24].map((size) => patchAt(size))).toEqual([7, 8, 8, 6]);
    expect(patchAt(32, { patch: 4 })).toBe(4);
    // No divisor is near: the ViT would have 31 times as many tokens.
    expect(() => patchAt(31)).toThrow("spec.augmentation.size: got 31, allowed: must be a multiple of");
    expect(() => patchAt(32, { patch: 7 })).toThrow("spec.augmentation.size: got 32, allowed: must be a multiple of");
  });

  test("chance is that of the temperature which the run has come to", () => {
    const spec = parseSpec("pretrain", { method: "moco-v3", dataset, temperature: 1, finalTemperature: 0.2 });
    const evidence = { step: 100, metrics: {}, spread: null, knn: 0.3, untrainedKnn: 0.3 };
    const judged = (loss: number, progress: number) =>
      schemaOf("moco-v3").judge(spec as never, { ...evidence, loss, progress }).state;
    const chance = (temperature: number) => 4 * temperature * Math.log(spec.batchSize);
    expect([judged(chance(1), 0), judged(chance(0.6), 0.5), judged(chance(0.2), 1)]).toEqual(
      Array(3).fill("at chance"),
    );
    expect(judged(chance(0.6), 0)).toBe("learning");
  });

  test("fine-tuning has its own weight decay, unmoved and unclipped", () => {
    const optimizer = { weightDecay: 0.04, finalWeightDecay: 0.4, clip: 1 };
    const pretrained = parseSpec("pretrain", { method: "byol", dataset, optimizer });
    const tuning = parseSpec("fine-tune", { from: "run_x" });
    const setting = { lr: 0.1, weightDecay: 1e-4, validation: null };
    const { optimizer: own } = classifierSpec(pretrained, tuning, 10, 32, setting);
    expect([0, 0.5, 1].map((at) => weightDecayAt(own, at))).toEqual([1e-4, 1e-4, 1e-4]);
    expect(own.clip).toBeUndefined();
  });

  test("what does not fit is advised no more splits than there may be", () => {
    const advice = (fields: object) => tooLarge(parseSpec("pretrain", { dataset, ...fields }), "5 GB are needed");
    expect(advice({ batchSize: 64, splits: 8 })).toContain("raise spec.splits, or lower spec.batchSize");
    const most = advice({ method: "moco-v3", preset: "imagenet", encoder: { arch: "vit-small" } });
    expect(most).toContain("spec.splits is at its most (64); lower spec.batchSize");
  });

  test("what a method draws is what it measures", () => {
    for (const name of methodNames) {
      const { charts, watchesGradient } = schemaOf(name);
      const measured = figuresOf(parseSpec("pretrain", { method: name, dataset: datasetFor(name) }));
      expect(measured.includes("gradientFirst")).toBe(watchesGradient === true);
      const figures = charts.filter(({ of }) => of === "steps").flatMap(({ figures }) => figures);
      expect(figures.every((figure) => measured.includes(figure))).toBe(true);
    }
  });
});

describe("closed forms of losses on pairs", () => {
  const c = 4;
  /** Unit rows of images, times 5, and of texts. */
  const pairs = (n: number) => {
    const [x, y] = [1, 2].map((seed) => normalise(tf.tensor2d(wave(n * c, n + seed), [n, c])) as tf.Tensor2D);
    return [tf.mul(x as tf.Tensor2D, 5) as tf.Tensor2D, y as tf.Tensor2D] as const;
  };
  const logitsOf = (a: number[][], b: number[][]) =>
    a.map((row) => b.map((other) => row.reduce((sum, v, k) => sum + v * (other[k] as number), 0)));
  /** Gradients by a and b where the loss's by the logits is `of`. */
  const gradients = (of: number[][], a: number[][], b: number[][]) => [
    of.flatMap((row) =>
      Array.from({ length: c }, (_, k) => row.reduce((sum, v, j) => sum + v * (b[j]?.[k] as number), 0)),
    ),
    b.flatMap((_, j) =>
      Array.from({ length: c }, (__, k) =>
        of.reduce((sum, row, i) => sum + (row[j] as number) * (a[i]?.[k] as number), 0),
      ),
    ),
  ];
  const expectLoss = (
    loss: (...of: tf.Tensor[]) => tf.Scalar,
    inputs: tf.Tensor[],
    value: number,
    slopes: number[][],
  ) => {
    const error = Math.abs((loss(...inputs).dataSync()[0] as number) - value);
    expect(error / Math.max(1, Math.abs(value))).toBeLessThan(1e-5);
    const got = tf.grads(loss)(inputs);
    slopes.forEach((slope, i) => {
      expect(relativeError((got[i] as tf.Tensor).dataSync(), slope)).toBeLessThan(1e-4);
    });
  };

  // 2,100 rows are more logits than one block has room for.
  test.each([3, 2100])("CLIP's and SigLIP's losses and gradients equal a double loop's, N = %p", (n) => {
    const [x, y] = pairs(n);
    const [a, b] = [x.arraySync(), y.arraySync()];
    const logits = logitsOf(a, b);
    const exps = logits.map((row) => row.map(Math.exp));
    const byRow = exps.map((row) => row.reduce((sum, v) => sum + v, 0));
    const byColumn = b.map((_, j) => exps.reduce((sum, row) => sum + (row[j] as number), 0));
    const own = (i: number, j: number) => Number(i === j);
    const softmax = logits.reduce((sum, row, i) => {
      return sum + (Math.log(byRow[i] as number) + Math.log(byColumn[i] as number)) / 2 - (row[i] as number);
    }, 0);
    const ofSoftmax = exps.map((row, i) =>
      row.map((v, j) => (v / (byRow[i] as number) / 2 + v / (byColumn[j] as number) / 2 - own(i, j)) / n),
    );
    expectLoss(symmetricCrossEntropy as never, [x, y], softmax / n, gradients(ofSoftmax, a, b));

    const bias = -2;
    const sign = (i: number, j: number) => 2 * own(i, j) - 1;
    let [sigmoid, byBias] = [0, 0];
    const ofSigmoid = logits.map((row, i) =>
      row.map((v, j) => {
        const z = sign(i, j) * (v + bias);
        sigmoid += Math.log1p(Math.exp(-z));
        const slope = -sign(i, j) / (1 + Math.exp(z)) / n;
        byBias += slope;
        return slope;
      }),
    );
    const slopes = [...gradients(ofSigmoid, a, b), [byBias]];
    expectLoss(sigmoidLoss as never, [x, y, tf.scalar(bias)], sigmoid / n, slopes);
  });

  test("CLIP's loss of constant embeddings is log N, and its figures are those of chance", () => {
    const same = normalise(tf.ones([6, c])) as tf.Tensor2D;
    expect(symmetricCrossEntropy(same, same).dataSync()[0]).toBeCloseTo(Math.log(6), 5);
    expect([...pairMetrics(same, same).dataSync()].map((v) => v.toFixed(4))).toEqual([
      "0.0000",
      "0.0000",
      "1.0000",
      "1.0000",
    ]);
  });

  test.each([5, 2100])("figures of pairs equal a double loop's, N = %p", (n) => {
    const [, y] = pairs(n);
    const x = normalise(tf.add(y, tf.mul(tf.tensor2d(wave(n * c, 9), [n, c]), 0.3))) as tf.Tensor2D;
    const cosines = logitsOf(x.arraySync(), y.arraySync());
    const turned = cosines.map((_, j) => cosines.map((row) => row[j] as number));
    const first = (of: number[][]) =>
      of.filter((row, i) => row.every((v, j) => j === i || v < (row[i] as number))).length / n;
    const positive = cosines.reduce((sum, row, i) => sum + (row[i] as number), 0);
    const all = cosines.flat().reduce((sum, v) => sum + v, 0);
    const expected = [first(cosines), first(turned), positive / n, (all - positive) / (n * (n - 1))];
    const got = [...pairMetrics(x, y).dataSync()];
    got.forEach((v, i) => {
      expect(Math.abs(v - (expected[i] as number))).toBeLessThan(n > 1000 ? 2e-3 : 1e-5);
    });
  });
});

describe("closed forms", () => {
  const nothing = (name: string): never => {
    throw new Error(`there is no ${name}`);
  };
  const none = { scheduled: nothing, state: nothing, parameter: nothing };

  test.each([8, 300])("NT-Xent of constant embeddings is log(2N-1), N = %p", (n) => {
    const spec = parseSpec("pretrain", { method: "simclr", dataset }) as SimclrSpec;
    const z = tf.ones([n, 5]) as tf.Tensor2D;
    const { loss, metrics } = simclr.loss(spec, { z: [z, z] }, none);
    expect(loss.dataSync()[0]).toBeCloseTo(Math.log(2 * n - 1), 4);
    expect([...metrics.dataSync()].slice(1).map((v) => v.toFixed(4))).toEqual(["1.0000", "1.0000"]);
  });

  test("NT-Xent, its gradient and its figures equal a double loop's, in one block of rows and in several", () => {
    // 2,100 rows are more similarities than one block has room for.
    for (const [n, temperature] of [
      [3, 0.5],
      [1050, 0.1],
    ] as const) {
      const c = 4;
      const z = normalise(tf.tensor2d(wave(2 * n * c, n), [2 * n, c])) as tf.Tensor2D;
      const rows = z.arraySync();
      const s = rows.map((a) => rows.map((b) => a.reduce((sum, v, k) => sum + v * (b[k] as number), 0)));
      const pair = (i: number) => (i + n) % (2 * n);
      const others = (i: number) => rows.map((_, j) => j).filter((j) => j !== i);
      const share = rows.map((_, i) => {
        const weights = rows.map((_, j) => (j === i ? 0 : Math.exp((s[i]?.[j] as number) / temperature)));
        const total = weights.reduce((a, b) => a + b, 0);
        return weights.map((w) => w / total);
      });
      const loss = rows.reduce((sum, _, i) => sum - Math.log(share[i]?.[pair(i)] as number), 0) / (2 * n);
      const top1 = rows.filter((_, i) =>
        others(i).every((j) => j === pair(i) || (s[i]?.[pair(i)] as number) > (s[i]?.[j] as number)),
      );
      const gradient = rows.map((_, i) =>
        Array.from({ length: c }, (_, k) => {
          let sum = -2 * (rows[pair(i)]?.[k] as number);
          rows.forEach((other, j) => {
            sum += ((share[i]?.[j] as number) + (share[j]?.[i] as number)) * (other[k] as number);
          });
          return sum / (2 * n * temperature);
        }),
      );
      const outcome = ntXent(z, temperature);
      expect(Math.abs((outcome.loss.dataSync()[0] as number) / loss - 1)).toBeLessThan(1e-5);
      expect((outcome.metrics.dataSync()[0] as number) * 2 * n).toBeCloseTo(top1.length, 1);
      const got = tf.grad((x) => ntXent(x as tf.Tensor2D, temperature).loss)(z);
      expect(relativeError(got.dataSync(), gradient.flat())).toBeLessThan(1e-4);
    }
  });

  test("NT-Xent by a temperature that is a tensor is that of the number, and has its gradient", () => {
    const z = normalise(tf.tensor2d(wave(24, 3), [6, 4])) as tf.Tensor2D;
    const lossAt = (t: number) => ntXent(z, t).loss.dataSync()[0] as number;
    const t = tf.scalar(0.4);
    const [constant, moving] = [ntXent(z, 0.4), ntXent(z, t)];
    expect(relativeError(moving.loss.dataSync(), constant.loss.dataSync())).toBeLessThan(1e-6);
    expect(relativeError(moving.metrics.dataSync(), constant.metrics.dataSync())).toBeLessThan(1e-6);
    const byRows = (temperature: number | tf.Scalar) =>
      tf
        .grad((x) => ntXent(x as tf.Tensor2D, temperature).loss)(z)
        .dataSync();
    expect(relativeError(byRows(t), byRows(0.4))).toBeLessThan(1e-5);
    const [got] = tf
      .grad((x) => ntXent(z, x as tf.Scalar).loss)(t)
      .dataSync() as unknown as [number];
    const step = 0.01;
    expect(Math.abs(got / ((lossAt(0.4 + step) - lossAt(0.4 - step)) / (2 * step)) - 1)).toBeLessThan(2e-3);
  });

  test("Barlow Twins: 0 of whitened embeddings, D of constant ones", () => {
    const spec = parseSpec("pretrain", { method: "barlow-twins", dataset, dim: 3 }) as BarlowTwinsSpec;
    // Columns of a Hadamard matrix: of mean 0, uncorrelated.
    const h = [1, 1, 1, -1, 1, -1, 1, -1, -1, -1, -1, 1].map((v) => 100 * v);
    const white = tf.tensor2d(h, [4, 3]);
    const lossOf = (z: tf.Tensor2D) =>
      barlowTwins.loss(spec as never, { z: [z, z] }, none).loss.dataSync()[0] as number;
    expect(lossOf(white)).toBeCloseTo(0, 5);
    expect(lossOf(tf.ones([4, 3]) as tf.Tensor2D)).toBeCloseTo(3, 5);
  });

  test("SimSiam collapsed: -1, and a deviation of 0; spread evenly the deviation is about 1", () => {
    const spec = parseSpec("pretrain", { method: "simsiam", dataset }) as SimsiamSpec;
    const same = tf.ones([6, 4]) as tf.Tensor2D;
    const { loss, metrics } = simsiam.loss(spec as never, { p: [same, same], z: [same, same] }, none);
    expect(loss.dataSync()[0]).toBeCloseTo(-1, 5);
    expect(metrics.dataSync()[1]).toBeCloseTo(0, 5);
    const even = tf.randomNormal([2000, 16], 0, 1, "float32", 1);
    expect(Math.abs((deviation(even).dataSync()[0] as number) - 1)).toBeLessThan(0.02);
  });

  test("a number moves by half a cosine, and the weight decay stays where nothing moves it", () => {
    expect([0, 0.5, 1].map((at) => byCosine(0.04, 0.4, at).toFixed(12))).toEqual(
      [0.04, 0.22, 0.4].map((v) => v.toFixed(12)),
    );
    const { optimizer } = parseSpec("pretrain", { dataset });
    expect(weightDecayAt(optimizer, 0.7)).toBe(optimizer.weightDecay);
    expect(weightDecayAt({ ...optimizer, weightDecay: 0.04, finalWeightDecay: 0.4 }, 0.5)).toBeCloseTo(0.22, 12);
  });

  test("BYOL's momentum rises from its base to 1", () => {
    expect([0, 0.5, 1].map((at) => byCosine(0.99, 1, at))).toEqual([0.99, 0.995, 1]);
  });
});
