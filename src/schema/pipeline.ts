/** Pipelines: a graph of jobs, run once for every point of a sweep and every seed. */
import { z } from "zod";
import { type FieldError, fieldErrors, type JobSpecs, parseSpec, SpecError, schemas } from "./job.ts";
import { expectKept } from "./kept.ts";
import type { PretrainSpec } from "./pretrain.ts";
import { type JobType, jobTypes } from "./types.ts";

/** Jobs of one pipeline, all points and seeds together. */
export const PIPELINE_JOBS = 500;

const node = z.string().regex(/^[a-z][a-z0-9-]{0,39}$/, "a name of a-z, 0-9 and -, at most 40 long");
const path = z
  .string()
  .regex(
    /^[a-z][a-z0-9-]*(\.[A-Za-z][A-Za-z0-9]*)+$/,
    "the name of a job and a field of its spec: pretrain.optimizer.lr",
  );

export const pipelineSpec = z.strictObject({
  jobs: z
    .record(
      node,
      z.strictObject({
        type: z.enum(jobTypes),
        from: node.optional().describe("the job of this pipeline whose encoder it works on; else give spec.from"),
        spec: z.record(z.string(), z.unknown()).default({}),
      }),
    )
    .refine((jobs) => Object.keys(jobs).length > 0, "at least one job")
    .describe("by name; they run when what they work on has succeeded"),
  sweep: z
    .strictObject({
      grid: z
        .record(path, z.array(z.unknown()).min(1))
        .optional()
        .describe("field -> values; every combination is run"),
      list: z
        .array(z.record(path, z.unknown()))
        .min(1)
        .optional()
        .describe("points, each with the fields that it sets"),
      seeds: z
        .array(z.int().min(0).max(0xffffffff))
        .min(1)
        .optional()
        .describe("everything is run once for each; results are means over them"),
    })
    .default({}),
});
export type PipelineSpec = z.infer<typeof pipelineSpec>;

/** One job of a pipeline. */
export interface PlannedJob {
  readonly id: string;
  /** Its name in the pipeline. */
  readonly node: string;
  readonly type: JobType;
  /** The swept fields that it or what it works on depends on. */
  readonly params: Record<string, unknown>;
  readonly seed: number | null;
  readonly spec: JobSpecs[JobType];
}

type Nodes = PipelineSpec["jobs"];
export type Point = Readonly<Record<string, unknown>>;

/**
 * Validates a pipeline and lays it out: sources before what works on them. A job that no swept field touches, neither itself
 * nor what it works on, is there once. Throws SpecError with every bad field.
 */
export function expand(given: unknown, newId: () => string): PlannedJob[] {
  const parsed = pipelineSpec.safeParse(given);
  if (!parsed.success) throw new SpecError(fieldErrors("", given, parsed.error.issues));
  const { jobs: nodes, sweep } = parsed.data;
  const order = inOrder(nodes);
  checkPaths(nodes, sweep);
  const seeds: readonly (number | null)[] = sweep.seeds ?? [null];
  const planned = new Map<string, PlannedJob>();
  const errors: FieldError[] = [];
  for (const point of pointsOf(sweep)) {
    for (const seed of seeds) {
      const here = new Map<string, PlannedJob>();
      for (const name of order) {
        const lineage = lineageOf(nodes, name);
        const params = Object.fromEntries(Object.entries(point).filter(([field]) => lineage.includes(nodeOf(field))));
        const own = lineage.some((of) => hasSeed(nodes[of] as Nodes[string])) ? seed : null;
        const key = JSON.stringify([name, Object.entries(params).sort(), own]);
        let job = planned.get(key);
        if (!job) {
          const from = here.get(nodes[name]?.from ?? "");
          if (nodes[name]?.from && !from) continue; // its source is refused already
          const spec = specAt(nodes, name, { point, seed: own, from }, errors);
          if (!spec) continue;
          job = { id: newId(), node: name, type: (nodes[name] as Nodes[string]).type, params, seed: own, spec };
          planned.set(key, job);
          if (planned.size > PIPELINE_JOBS) throw tooMany(nodes);
        }
        here.set(name, job);
      }
    }
  }
  if (errors.length > 0) throw new SpecError(errors);
  const all = [...planned.values()];
  return order.flatMap((name) => all.filter((job) => job.node === name));
}

const nodeOf = (field: string): string => field.slice(0, field.indexOf("."));
const hasSeed = ({ type }: Nodes[string]): boolean => type === "pretrain" || "seed" in schemas[type].shape;

const tooMany = (nodes: Nodes) =>
  new SpecError([
    {
      field: "sweep",
      got: `more than ${PIPELINE_JOBS} jobs of ${Object.keys(nodes).join(", ")}`,
      allowed: `at most ${PIPELINE_JOBS} jobs; sweep fewer values or seeds`,
    },
  ]);

/** A job and what it works on, itself first. */
function lineageOf(nodes: Nodes, name: string): string[] {
  const from = nodes[name]?.from;
  return from === undefined ? [name] : [name, ...lineageOf(nodes, from)];
}

/** Names, sources first. Only pretraining has an encoder to give, so there can be no cycle. */
function inOrder(nodes: Nodes): string[] {
  const errors: FieldError[] = [];
  const sources = Object.keys(nodes).filter((name) => nodes[name]?.type === "pretrain");
  for (const [name, { type, from }] of Object.entries(nodes)) {
    const field = `jobs.${name}.from`;
    if (from === undefined) continue;
    if (type === "pretrain") errors.push({ field, got: from, allowed: "nothing: a pretrain job works on no other" });
    else if (!sources.includes(from)) {
      errors.push({ field, got: from, allowed: `a pretrain job of the pipeline: ${sources.join(", ") || "none"}` });
    }
  }
  if (errors.length > 0) throw new SpecError(errors);
  return [...sources, ...Object.keys(nodes).filter((name) => !sources.includes(name))];
}

function checkPaths(nodes: Nodes, { grid = {}, list = [], seeds }: PipelineSpec["sweep"]): void {
  const errors: FieldError[] = [];
  const check = (field: string, where: string) => {
    if (!(nodeOf(field) in nodes)) {
      errors.push({ field: where, got: field, allowed: `a field of one of ${Object.keys(nodes).join(", ")}` });
    } else if (seeds && field === `${nodeOf(field)}.seed`) {
      errors.push({ field: where, got: field, allowed: "sweep.seeds or this, not both" });
    }
  };
  for (const field of Object.keys(grid)) check(field, "sweep.grid");
  list.forEach((point, i) => {
    for (const field of Object.keys(point)) {
      check(field, `sweep.list.${i}`);
      if (field in grid) errors.push({ field: `sweep.list.${i}`, got: field, allowed: "a field that grid has not" });
    }
  });
  const size = Object.values(grid).reduce((n, values) => n * values.length, Math.max(1, list.length));
  if (size * (seeds?.length ?? 1) > PIPELINE_JOBS) throw tooMany(nodes);
  if (errors.length > 0) throw new SpecError(errors);
}

/** Every point of the list with every combination of the grid. */
export function pointsOf({ grid = {}, list = [{}] }: PipelineSpec["sweep"]): Point[] {
  let points: Point[] = list;
  for (const [field, values] of Object.entries(grid)) {
    points = points.flatMap((point) => values.map((value) => ({ ...point, [field]: value })));
  }
  return points;
}

/** A copy of `spec` with the value at a dotted path. */
function withValue(spec: unknown, [name, ...rest]: readonly string[], value: unknown): unknown {
  if (name === undefined) return value;
  const record = typeof spec === "object" && spec !== null && !Array.isArray(spec) ? spec : {};
  return { ...record, [name]: withValue((record as Record<string, unknown>)[name], rest, value) };
}

/** The complete spec of a job at a point. What is wrong with it is added to `errors`, and it is undefined. */
function specAt(
  nodes: Nodes,
  name: string,
  { point, seed, from }: { point: Point; seed: number | null; from: PlannedJob | undefined },
  errors: FieldError[],
): JobSpecs[JobType] | undefined {
  const own = nodes[name] as Nodes[string];
  let spec: unknown = own.spec;
  const fields = Object.entries(point).filter(([field]) => nodeOf(field) === name);
  for (const [field, value] of fields) spec = withValue(spec, field.split(".").slice(1), value);
  if (seed !== null && hasSeed(own)) spec = withValue(spec, ["seed"], seed);
  if (from) spec = withValue(spec, ["from"], from.id);
  try {
    const parsed = parseSpec(own.type, spec);
    if (from) expectKept(own.type, parsed, from.spec as PretrainSpec);
    return parsed;
  } catch (error) {
    if (!(error instanceof SpecError)) throw error;
    const at =
      fields.length > 0 ? ` (at ${fields.map(([field, v]) => `${field} ${JSON.stringify(v)}`).join(", ")})` : "";
    const seen = new Set(errors.map(({ field, allowed }) => field + allowed));
    for (const { field, got, allowed } of error.errors) {
      const hint = field === "spec.from" ? `; a job of this pipeline is named by jobs.${name}.from` : "";
      const found = { field: `jobs.${name}.${field}`, got, allowed: allowed + hint + at };
      if (!seen.has(found.field + found.allowed)) errors.push(found);
    }
    return undefined;
  }
}
