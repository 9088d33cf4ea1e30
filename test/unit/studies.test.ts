/** The committed studies: each one is valid, and laid out, at every scale. */
import { expect, test } from "bun:test";
import { committedStudies } from "../../api/study_files.ts";
import { shares } from "../../src/schema/dataset.ts";
import type { SpecError } from "../../src/schema/job.ts";
import { expand, type PlannedJob } from "../../src/schema/pipeline.ts";
import type { PretrainSpec } from "../../src/schema/pretrain.ts";
import { type Changes, changedStudy } from "../../src/schema/study/changed.ts";
import { parseStudy } from "../../src/schema/study/check.ts";
import { layoutOf } from "../../src/schema/study/layout.ts";
import { type ScaleName, type StudySpec, scaleNames } from "../../src/schema/study/spec.ts";
import { studyReport } from "../../src/study/report.ts";

const names = [
  "clip-and-the-batch",
  "key-momentum",
  "memory",
  "methods",
  "moco-v2-ablation",
  "negatives",
  "shuffle-bn",
  "v3-stability",
];

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
        const kind = scale === "gpu" || (name === "memory" && scale === "hours") ? "cifar10" : "fashion-mnist";
        expect(dataset.kind).toBe(name === "clip-and-the-batch" ? "table" : kind);
        if (scale === "minutes" && dataset.kind !== "table") expect(dataset.images).toBeLessThanOrEqual(10_000);
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

test("a run changes fields of a study's jobs at its scale, and says so in its command; a job that there is not is named", () => {
  const study = committedStudies().get("clip-and-the-batch") as StudySpec;
  const set = { "pretrain.dataset.path": "/pairs.jsonl", "pretrain.epochs": 2 };
  const changed = parseStudy(changedStudy(study, "minutes", set));
  const specAt = (of: StudySpec, scale: ScaleName) => layoutOf(of, scale).pipeline.jobs.pretrain?.spec;
  const dataset = { kind: "table", path: "/pairs.jsonl", texts: ["en"] };
  expect(specAt(changed, "minutes")).toMatchObject({ epochs: 2, dataset });
  expect(specAt(changed, "hours")).toEqual(specAt(study, "hours"));
  expect(changedStudy(study, "minutes", {})).toBe(study);
  const errorsOf = (changes: Changes) => {
    try {
      changedStudy(study, "minutes", changes);
      return [];
    } catch (error) {
      return (error as SpecError).errors.map(({ field, got }) => [field, got]);
    }
  };
  expect(errorsOf({ "probe.lr": 1, pretrain: 2 })).toEqual([
    ["set.probe.lr", 1],
    ["set.pretrain", 2],
  ]);
  const record = {
    name: "clip-and-the-batch",
    scale: "minutes",
    spec: changed,
    set,
    plans: [],
    unplanned: null,
  } as const;
  const { command } = studyReport(record, { id: "pipe_1", createdAt: "", finishedAt: null }, []);
  expect(command).toBe(
    "mocod study run clip-and-the-batch --scale minutes --set pretrain.dataset.path=/pairs.jsonl --set pretrain.epochs=2",
  );
});
