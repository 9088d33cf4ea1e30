/** The committed studies: each one is valid, and laid out, at every scale. */
import { expect, test } from "bun:test";
import { committedStudies } from "../../api/study_files.ts";
import { shares } from "../../src/schema/dataset.ts";
import { expand, type PlannedJob } from "../../src/schema/pipeline.ts";
import type { PretrainSpec } from "../../src/schema/pretrain.ts";
import { layoutOf } from "../../src/schema/study/layout.ts";
import { scaleNames } from "../../src/schema/study/spec.ts";

const names = ["key-momentum", "memory", "methods", "moco-v2-ablation", "negatives", "shuffle-bn", "v3-stability"];

test("those that there are", () => {
  expect([...committedStudies().keys()]).toEqual(names);
});

for (const name of names) {
  test(`${name}: a job for each row and seed at every scale, at the size that the scale is of`, () => {
    const study = committedStudies().get(name);
    if (!study) throw new Error(`there is no study ${name}`);
    expect(Object.keys(study.scales)).toEqual([...scaleNames]);
    for (const scale of scaleNames) {
      const { pipeline, rows, about } = layoutOf(study, scale);
      let count = 0;
      const jobs: PlannedJob[] = expand(pipeline, () => `run_${count++}`);
      const pretrain = jobs.filter(({ type }) => type === "pretrain");
      expect(about).not.toBeNull();
      expect(pretrain.length).toBe(rows.filter(({ planned }) => !planned).length * 3);
      for (const { dataset } of pretrain.map(({ spec }) => spec as PretrainSpec)) {
        expect(dataset.kind).toBe(
          scale === "gpu" || (name === "memory" && scale === "hours") ? "cifar10" : "fashion-mnist",
        );
        if (scale === "minutes") expect(dataset.images).toBeLessThanOrEqual(10_000);
      }
    }
  });
}

test("negatives: every run encodes the same images, whatever the batch", () => {
  const study = committedStudies().get("negatives");
  if (!study) throw new Error("there is no study negatives");
  for (const scale of scaleNames) {
    const specs = expand(layoutOf(study, scale).pipeline, () => "run_1").flatMap(({ type, spec }) =>
      type === "pretrain" ? [spec as PretrainSpec] : [],
    );
    const encoded = ({ dataset, batchSize, epochs, monitor }: PretrainSpec) => {
      const published = dataset.kind === "cifar10" ? 50_000 : 60_000;
      const { trained } = shares(published, monitor.holdout, dataset.images);
      expect(trained).toBe(dataset.images as number);
      return epochs * batchSize * Math.floor(trained / batchSize);
    };
    expect(new Set(specs.map(encoded)).size).toBe(1);
    expect(specs.every(({ monitor }) => monitor.everyEpochs > 0)).toBe(true);
  }
});

test("a seed goes to the jobs that have one, whatever their type", () => {
  const dataset = { kind: "folder", path: "/pairs", texts: "beside" };
  const jobs = {
    pretrain: { type: "pretrain", spec: { method: "clip", dataset } },
    retrieval: { type: "retrieval", from: "pretrain", spec: {} },
    named: { type: "zero-shot", from: "pretrain", spec: { classes: ["a", "b"] } },
    features: { type: "embed", from: "pretrain", spec: {} },
    file: { type: "export", from: "pretrain", spec: {} },
  };
  let count = 0;
  const planned = expand({ jobs, sweep: { seeds: [3, 4] } } as never, () => `run_${count++}`);
  const seeds = planned.map(({ node, spec }) => [node, (spec as { seed?: number }).seed]);
  for (const seed of [3, 4]) {
    for (const node of ["pretrain", "retrieval"]) expect(seeds).toContainEqual([node, seed]);
  }
  for (const node of ["named", "features", "file"]) expect(seeds).toContainEqual([node, undefined]);
  expect(planned.length).toBe(10);
});
