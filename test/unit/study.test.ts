/** Studies: the schema's errors by field, their layout at a scale, and a report beside values computed by hand. */
import { describe, expect, test } from "bun:test";
import { parseSpec, SpecError } from "../../src/schema/job.ts";
import { expand } from "../../src/schema/pipeline.ts";
import { parseStudy } from "../../src/schema/study/check.ts";
import { layoutOf, plannedOnly, scaleOf } from "../../src/schema/study/layout.ts";
import { atEqualTime } from "../../src/study/equal_time.ts";
import { studyHtml } from "../../src/study/html.ts";
import { studyMarkdown } from "../../src/study/markdown.ts";
import { studyReport } from "../../src/study/report.ts";
import { differenceOf, tQuantile } from "../../src/study/statistics.ts";
import { ticksOf } from "../../src/study/svg.ts";
import type { Ran } from "../../src/study/types.ts";
import { sampleOf } from "../../src/util/sample.ts";

const given = {
  title: "Momentum <of> the key encoder",
  question: "Does a slow key encoder help?",
  paper: { citation: "He et al. 2020, section 4.1", figures: { slow: { kNN: 59 }, fast: { kNN: 55.2 } } },
  pipeline: {
    jobs: {
      pretrain: { type: "pretrain", spec: { preset: "small" } },
      knn: { type: "knn", from: "pretrain", spec: { baselines: false } },
    },
    sweep: { points: { slow: { "pretrain.momentum": 0.99 }, fast: { "pretrain.momentum": 0.9 } }, seeds: [0, 1, 2, 3] },
  },
  scales: {
    minutes: {
      jobs: { pretrain: { spec: { dataset: { kind: "fashion-mnist", images: 2000 }, epochs: 2 } } },
      sweep: { points: { fast: { "pretrain.temperature": 0.2 } } },
    },
    gpu: {
      jobs: { pretrain: { spec: { dataset: { kind: "cifar10" } } } },
      sweep: { points: { slower: { "pretrain.momentum": 0.999 } }, seeds: [0] },
    },
  },
  table: {
    columns: [
      { name: "kNN", job: "knn", figure: "top1", unit: "percent" },
      { name: "fall", job: "pretrain", metric: "knn", take: "dip", unit: "percent", better: "lower" },
      { name: "planned", job: "pretrain", plan: "memory", unit: "MB" },
    ],
  },
  plots: [
    { title: "kNN by momentum", x: { field: "pretrain.momentum" }, y: { column: "kNN" } },
    { title: "kNN by epoch", x: "epoch", y: { job: "pretrain", metric: "knn" }, unit: "percent" },
  ],
  claims: [
    { better: "slow", than: "fast", in: "kNN", says: "beneficial" },
    { better: "fast", than: "slow", in: "fall" },
  ],
};

const errorsOf = (study: unknown): string[] => {
  try {
    parseStudy(study);
    return [];
  } catch (error) {
    if (!(error instanceof SpecError)) throw error;
    return error.errors.map(({ field, got, allowed }) => `${field}: ${JSON.stringify(got)}, ${allowed}`);
  }
};

describe("schema", () => {
  test("every bad field is named, with what is allowed there", () => {
    expect(errorsOf(given)).toEqual([]);
    expect(errorsOf({ ...given, colour: "red", title: 3 })).toEqual([
      "title: 3, string",
      'colour: "red", no such field',
    ]);
    const { table } = given;
    const column = { name: "kNN", job: "probe", figure: "top1" };
    expect(errorsOf({ ...given, table: { columns: [column, ...table.columns.slice(1)] } })).toEqual([
      'table.columns.0.job: "probe", pretrain, knn',
    ]);
    expect(errorsOf({ ...given, table: { columns: [{ ...column, job: "knn", metric: "knn" }] } })).toEqual([
      expect.stringContaining("exactly one of figure, metric and plan"),
    ]);
    const odd = { ...table.columns[0], figure: "loss" };
    expect(errorsOf({ ...given, table: { columns: [odd, ...table.columns.slice(1)] } })).toEqual([
      'table.columns.0.figure: "loss", top1, top5, seconds, baselines.pixels.top1, baselines.untrained.top1',
    ]);
    expect(errorsOf({ ...given, claims: [{ better: "slow", than: "slower", in: "kNN" }] })).toEqual([
      'claims.0.than: "slower", slow; fast',
    ]);
    expect(
      errorsOf({ ...given, paper: { ...given.paper, figures: { medium: { kNN: 1 }, slow: { loss: 1 } } } }),
    ).toEqual(['paper.figures: "medium", slow; fast; slower', 'paper.figures.slow: "loss", kNN; fall; planned']);
    expect(errorsOf({ ...given, plots: [{ title: "x", x: "epoch", y: { column: "kNN" } }] })).toEqual([
      'plots.0.y: {"column":"kNN"}, a job and a metric, over epochs',
    ]);
  });

  test("a field that no method has, at the scale where it is set", () => {
    const { gpu, minutes } = given.scales;
    const wrong = { ...gpu, jobs: { pretrain: { spec: { ...gpu.jobs.pretrain.spec, tempo: 3 } } } };
    expect(errorsOf({ ...given, scales: { minutes, gpu: wrong } })).toEqual([
      expect.stringMatching(/^pipeline\.jobs\.pretrain\.spec\.tempo: 3, no such field .*\(at scale gpu\)$/),
      expect.anything(),
      expect.anything(),
    ]);
    expect(errorsOf({ ...given, scales: { minutes, gpu: { ...gpu, jobs: { probe: { spec: {} } } } } })[0]).toBe(
      'scales.gpu.jobs: "probe", jobs of the pipeline: pretrain, knn',
    );
  });

  test("a scale is merged over the pipeline; points by name; a row is one point", () => {
    const study = parseStudy(given);
    const { pipeline, rows } = layoutOf(study, "minutes");
    expect(rows).toEqual([
      { name: "slow", point: { "pretrain.momentum": 0.99 }, planned: false },
      { name: "fast", point: { "pretrain.momentum": 0.9, "pretrain.temperature": 0.2 }, planned: false },
    ]);
    expect(expand(pipeline, () => "run_1").length).toBe(16);
    expect(layoutOf(study, "gpu").rows.map(({ name }) => name)).toEqual(["slow", "fast", "slower"]);
    expect([scaleOf(study, undefined), scaleOf(study, "gpu")]).toEqual(["minutes", "gpu"]);
    expect(() => scaleOf(study, "hours")).toThrow("allowed: minutes, gpu");
    const sweep = { grid: { "pretrain.momentum": [0.9, 0.99] }, points: { a: {}, b: { "pretrain.temperature": 0.1 } } };
    const both = parseStudy({
      ...given,
      paper: { citation: "none" },
      claims: [],
      pipeline: { ...given.pipeline, sweep },
      scales: { minutes: { jobs: given.scales.minutes.jobs } },
    });
    expect(layoutOf(both, "minutes").rows.map(({ name }) => name)).toEqual([
      "a, momentum 0.9",
      "a, momentum 0.99",
      "b, momentum 0.9",
      "b, momentum 0.99",
    ]);
    const rowed = { ...both, table: { ...both.table, rows: [{ name: "row", at: { "pretrain.momentum": 0.9 } }] } };
    expect(errorsOf(rowed)[0]).toContain("table.rows.0.at: ");
    expect(errorsOf(rowed)[0]).toContain("(this is 2)");
  });
});

describe("statistics", () => {
  test("means, sample deviations and paired intervals beside values computed by hand", () => {
    expect(sampleOf([1, 3, 8])).toEqual({ mean: 4, deviation: Math.sqrt(13) });
    expect(sampleOf([5])).toEqual({ mean: 5, deviation: null });
    // The deviation is sqrt(14 / 3), and 3.1824 sqrt(14 / 3) / 2 is 3.4374.
    const { mean, interval } = differenceOf([1, 2, 3, 6]) ?? {};
    expect(mean).toBe(3);
    expect(interval?.[0]).toBeCloseTo(-0.4374, 3);
    expect(interval?.[1]).toBeCloseTo(6.4374, 3);
    expect(differenceOf([2])).toEqual({ mean: 2, interval: null, pairs: 1 });
    expect(differenceOf([])).toBeUndefined();
    // R: qt(0.975, c(1, 30, 31, 100)).
    for (const [freedom, t] of [
      [1, 12.7062],
      [30, 2.0423],
      [31, 2.0395],
      [100, 1.984],
    ] as const) {
      expect(tQuantile(freedom)).toBeCloseTo(t, 3);
    }
    expect(ticksOf(0.12, 0.58)).toEqual([0.1, 0.2, 0.3, 0.4, 0.5, 0.6]);
    expect(ticksOf(3, 3)).toEqual([3, 4]);
  });
});

describe("report", () => {
  const study = parseStudy(given);
  const knn: Record<string, number[]> = { slow: [0.6, 0.62, 0.64, 0.66], fast: [0.5, 0.6, 0.55, 0.56] };
  const { rows } = layoutOf(study, "minutes");
  const ran = rows.flatMap(({ name, point }, row) =>
    [0, 1, 2, 3].flatMap((seed): Ran[] => {
      const spec = parseSpec("pretrain", { dataset: { kind: "fashion-mnist" } });
      const at = { params: point, seed, lines: [], spec };
      const ended = { status: "succeeded" as const, error: null, startedAt: null, finishedAt: null };
      const lines = [0.3, 0.5, 0.4 + 0.01 * row, 0.55].map((value, epoch) => ({ epoch, knn: value }));
      const result = { seconds: 90, device: "wasm", threads: 2, version: "0.1.0", machine: "2 x chip, 8 GB" };
      const top1 = knn[name]?.[seed];
      const failed = name === "fast" && seed === 3;
      return [
        { ...at, id: `run_p${row}${seed}`, node: "pretrain", lines, job: { ...ended, result } },
        {
          ...at,
          id: `run_k${row}${seed}`,
          node: "knn",
          job: failed
            ? { ...ended, status: "failed" as const, error: "the | disk is <full>", result: null }
            : { ...ended, result: { top1, seconds: 10 } },
        },
      ];
    }),
  );
  const plans = [{ jobs: ["run_p00", "run_p01", "run_p02", "run_p03"], memory: 4e8 }];
  const record = { name: "key-momentum", scale: "minutes" as const, spec: study, plans, unplanned: null };
  const pipeline = { id: "pipe_1", createdAt: "2026-11-25T09:00:00.000Z", finishedAt: null };
  const report = studyReport(record, pipeline, ran);

  test("cells: mean, deviation, every seed; the dip of a curve; the plan; the paper's figure", () => {
    const [slow, fast] = report.rows;
    expect(slow?.cells[0]?.mean).toBeCloseTo(63, 9);
    expect(slow?.cells[0]?.deviation).toBeCloseTo(Math.sqrt(20 / 3), 9);
    expect(slow?.cells[0]?.seeds).toEqual([0, 1, 2, 3]);
    expect(fast?.cells[0]?.values.length).toBe(3);
    expect([slow, fast].map((row) => row?.cells[1]?.mean)).toEqual([expect.closeTo(10, 9), expect.closeTo(9, 9)]);
    expect([slow, fast].map((row) => row?.cells[2]?.mean)).toEqual([expect.closeTo(400, 9), undefined]);
    expect(slow?.paper).toEqual([59, null, null]);
  });

  test("claims: paired over the seeds that both have, the lower one better where the column says so", () => {
    const [first, second] = report.claims;
    // Differences 10, 2 and 9: mean 7, deviation sqrt(19), interval 7 -+ 4.3027 sqrt(19 / 3).
    expect(first?.differences.map((value) => Number(value.toFixed(6)))).toEqual([10, 2, 9]);
    expect(first?.difference).toBeCloseTo(7, 9);
    expect(first?.interval?.[0]).toBeCloseTo(7 - 4.3027 * Math.sqrt(19 / 3), 9);
    expect([first?.standing, first?.few]).toEqual(["undecided", false]);
    expect(first?.paper).toBeCloseTo(3.8, 9);
    expect(second?.difference).toBeCloseTo(1, 9);
    expect([second?.standing, second?.paper]).toEqual(["agrees", null]);
    const two = studyReport(
      record,
      pipeline,
      ran.filter(({ seed }) => (seed ?? 0) < 2),
    ).claims[0];
    expect([two?.few, two?.seeds]).toEqual([true, [0, 1]]);
  });

  test("plots, failures, and the part that differs from run to run", () => {
    expect(report.plots[0]?.series[0]?.points.map(([x]) => x)).toEqual([0.9, 0.99]);
    expect(report.plots[1]?.series.map(({ name }) => name)).toEqual(["slow", "fast"]);
    expect(report.plots[1]?.series[0]?.points).toEqual([
      [0, 30],
      [1, 50],
      [2, 40],
      [3, expect.closeTo(55, 9)],
    ]);
    expect(report.failures.map(({ job, seed, error }) => [job, seed, error])).toEqual([
      ["knn", 3, "the | disk is <full>"],
    ]);
    expect(report.run.hours).toBeCloseTo((8 * 90 + 7 * 10) / 3600, 9);
    expect([report.run.devices, report.run.versions]).toEqual([["WASM, 2 threads"], ["0.1.0"]]);
  });

  test("HTML and Markdown: escaped, self-contained, every figure in it", () => {
    const html = studyHtml(report);
    expect(html).toContain("<h1>Momentum &#60;of&#62; the key encoder</h1>");
    expect(html).toContain("the | disk is &#60;full&#62;");
    expect(html).toContain("<summary>63.0 ± 2.6</summary>seed 0: 60.0, seed 1: 62.0, seed 2: 64.0, seed 3: 66.0");
    expect(html).not.toMatch(/<script|src=|href=/);
    expect(html.match(/<svg/g)?.length).toBe(2);
    const markdown = studyMarkdown(report);
    expect(markdown).toContain("| slow | 63.0 ± 2.6 (60.0, 62.0, 64.0, 66.0) | 59.0 |");
    expect(markdown).toContain("the \\| disk is \\<full\\>");
    expect(markdown).toContain("mocod study run key-momentum --scale minutes");
    // Nothing stored, nothing printed.
    const empty = studyReport(
      { ...record, plans: [] },
      pipeline,
      ran.map((of) => ({ ...of, job: undefined, lines: [] })),
    );
    expect(empty.rows.every(({ cells }) => cells.every((cell) => cell === null))).toBe(true);
    expect(empty.claims.map(({ standing }) => standing)).toEqual(["open", "open"]);
    expect(studyHtml(empty)).not.toContain("NaN");
    expect(empty.unfinished).toBe(16);
  });
});

describe("at equal time", () => {
  const spec = parseSpec("pretrain", { dataset: { kind: "fashion-mnist" }, batchSize: 64, splits: 1 });
  const runOf = (
    id: string,
    imagesPerSecond: number,
    knn: readonly (number | null)[],
    more: Partial<Ran> = {},
  ): Ran => ({
    id,
    node: "pretrain",
    params: {},
    seed: 0,
    spec,
    job: { status: "succeeded", error: null, startedAt: null, finishedAt: null, result: { imagesPerSecond } },
    lines: knn.map((value, epoch) => ({ epoch, step: 10 * epoch, knn: value })),
    ...more,
  });
  const valuesOf = (...runs: Ran[]) => Object.fromEntries(atEqualTime(runs, "knn"));

  test("the metric of each run when the fastest one ended, linear between epochs, from the untrained one on", () => {
    // 640 images an epoch: 1, 2 and 8 seconds. The fastest ends after 4.
    const runs = [
      runOf("fast", 640, [0.1, 0.2, 0.3, 0.4, 0.5]),
      runOf("slow", 320, [0.1, 0.3, 0.4, 0.6, 0.9]),
      runOf("slowest", 80, [0.1, 0.5, 0.6, 0.7, 0.8]),
    ];
    expect(valuesOf(...runs)).toEqual({
      fast: 0.5,
      slow: expect.closeTo(0.4, 12),
      slowest: expect.closeTo(0.3, 12),
    });
    // Epochs without a vote are not of the curve.
    expect(valuesOf(runs[0] as Ran, runOf("seldom", 320, [0.1, null, null, null, 0.9])).seldom).toBeCloseTo(0.5, 12);
  });

  test("seeds apart; a run without a pace, or not succeeded, has none and ends nothing", () => {
    const job = { status: "failed" as const, error: "lost", startedAt: null, finishedAt: null, result: null };
    expect(
      valuesOf(
        runOf("a", 640, [0.1, 0.2]),
        runOf("b", 320, [0.1, 0.3]),
        runOf("c", 320, [0.1, 0.4], { seed: 1 }),
        runOf("d", 0, [0.1, 0.9]),
        runOf("e", 10_000, [0.1, 0.9], { job }),
      ),
    ).toEqual({ a: 0.2, b: expect.closeTo(0.2, 12), c: 0.4 });
  });

  test("a column of a report", () => {
    const columns = [{ name: "kNN at equal time", job: "pretrain", metric: "knn", take: "equalTime", unit: "percent" }];
    const timed = parseStudy({ ...given, paper: { citation: "none" }, table: { columns }, plots: [], claims: [] });
    const record = { name: null, scale: "minutes" as const, spec: timed, plans: [], unplanned: null };
    const [slow, fast] = layoutOf(timed, "minutes").rows.map(({ point }) => point);
    const report = studyReport(record, { id: "pipe_1", createdAt: "", finishedAt: null }, [
      runOf("run_1", 320, [0.1, 0.3], { params: slow as Ran["params"] }),
      runOf("run_2", 640, [0.1, 0.4], { params: fast as Ran["params"] }),
    ]);
    expect(report.columns[0]?.of).toBe("pretrain: knn, when the fastest run of the seed ended");
    expect(report.rows.map(({ cells }) => cells[0]?.mean)).toEqual([expect.closeTo(20, 9), expect.closeTo(40, 9)]);
    const figure = { name: "loss", job: "pretrain", figure: "loss", take: "equalTime" };
    expect(errorsOf({ ...given, table: { columns: [...given.table.columns, figure] } })).toEqual([
      expect.stringContaining("unset, without metric"),
    ]);
  });
});

describe("rows that are planned and not run", () => {
  const planned = { huge: { "pretrain.encoder": { arch: "resnet50", width: 64 } } };
  const { pipeline } = given;
  const of = (sweep: object) => ({ ...given, pipeline: { ...pipeline, sweep: { ...pipeline.sweep, planned: sweep } } });
  const column = given.table.columns.find(({ plan }) => plan);

  test("are no jobs, and a bad field of one is named", () => {
    const layout = layoutOf(parseStudy(of(planned)), "minutes");
    expect(layout.rows.map((row) => [row.name, row.planned])).toEqual([
      ["slow", false],
      ["fast", false],
      ["huge", true],
    ]);
    expect(expand(layout.pipeline, () => "run_1").length).toBe(16);
    const [only] = plannedOnly(layout);
    expect([only?.row, only?.job.node]).toEqual(["huge", "pretrain"]);
    expect(only?.job.spec).toMatchObject({ encoder: { arch: "resnet50" }, epochs: 2 });
    expect(errorsOf(of({ huge: { "pretrain.tempo": 1 } }))[0]).toStartWith(
      "pipeline.jobs.pretrain.spec.tempo: 1, no such field",
    );
    expect(errorsOf(of({ huge: { "knn.k": 1 } }))[0]).toStartWith(
      'pipeline.sweep.planned.huge: "knn.k", a field of one of pretrain',
    );
  });

  test("have what was planned in a report, and say so", () => {
    const spec = parseStudy({
      ...of(planned),
      table: { columns: [column] },
      plots: given.plots.slice(1),
      claims: [],
      paper: { citation: "none" },
    });
    const plans = [{ jobs: [], only: { row: "huge", job: "pretrain" }, memory: 93e9 }];
    const record = { name: null, scale: "minutes" as const, spec, plans, unplanned: null };
    const report = studyReport(record, { id: "pipe_1", createdAt: "", finishedAt: null }, []);
    expect(report.rows.map(({ cells }) => cells[0]?.values ?? null)).toEqual([null, null, [93_000]]);
    expect(report.plots[0]?.series.map(({ name }) => name)).toEqual(["slow", "fast"]);
    expect(studyMarkdown(report)).toContain("| huge (planned, not run) | 93000 |");
    expect(studyHtml(report)).toContain("huge (planned, not run)");
  });
});
