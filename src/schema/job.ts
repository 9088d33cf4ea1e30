import type { z } from "zod";
import { withReading } from "./dataset.ts";
import { encoderNames } from "./encoder.ts";
import {
  type EmbedSpec,
  type ExportSpec,
  embedSpec,
  exportSpec,
  type FineTuneSpec,
  fineTuneSpec,
  type KnnSpec,
  knnSpec,
  type MapSpec,
  mapSpec,
  type ProbeSpec,
  probeSpec,
  protocols,
  type RetrievalSpec,
  retrievalSpec,
  type ZeroShotSpec,
  zeroShotSpec,
} from "./evaluation.ts";
import type { JobStatus } from "./life.ts";
import { merge } from "./merge.ts";
import { DEFAULT_METHOD } from "./methods/index.ts";
import { type PresetName, presetFor, presets } from "./presets.ts";
import { type MethodName, methodNames, methodsWith, type PretrainSpec, pretrainSpec } from "./pretrain.ts";
import type { JobType } from "./types.ts";

export { finalStatuses, type JobStatus, jobStatuses } from "./life.ts";
export { type JobType, jobTypes } from "./types.ts";

export interface JobSpecs {
  pretrain: PretrainSpec;
  "linear-probe": ProbeSpec;
  knn: KnnSpec;
  "fine-tune": FineTuneSpec;
  "zero-shot": ZeroShotSpec;
  retrieval: RetrievalSpec;
  embed: EmbedSpec;
  map: MapSpec;
  export: ExportSpec;
}
/** Jobs that work on the encoder of another one. */
export type EvaluationType = Exclude<JobType, "pretrain">;

/** One bad field of a request. */
export interface FieldError {
  /** Dotted path, as in the request: `spec.encoder.width`. */
  field: string;
  got: unknown;
  allowed: string;
}

export class SpecError extends Error {
  override name = "SpecError";
  constructor(readonly errors: FieldError[]) {
    super(errors.map((e) => `${e.field}: got ${JSON.stringify(e.got) ?? "nothing"}, allowed: ${e.allowed}`).join("; "));
  }
}

export const schemas = {
  pretrain: pretrainSpec,
  "linear-probe": probeSpec,
  knn: knnSpec,
  "fine-tune": fineTuneSpec,
  "zero-shot": zeroShotSpec,
  retrieval: retrievalSpec,
  embed: embedSpec,
  map: mapSpec,
  export: exportSpec,
} satisfies Record<JobType, z.ZodType>;

function completed(type: JobType, spec: unknown): unknown {
  if (typeof spec !== "object" || spec === null) return spec;
  if (type === "linear-probe") {
    const { protocol = "fast" } = spec as { protocol?: unknown };
    return { protocol, ...(protocol === "paper" ? protocols.paper : protocols.fast), ...spec };
  }
  if (type !== "pretrain") return spec;
  const { preset = "small", ...rest } = spec as { preset?: unknown; method?: unknown };
  if (typeof preset !== "string" || !(preset in presets)) {
    throw new SpecError([{ field: "spec.preset", got: preset, allowed: Object.keys(presets).join(", ") }]);
  }
  const known = methodNames.includes(rest.method as MethodName);
  // An unknown method is left for the schema to name.
  if (!known && rest.method !== undefined) return rest;
  const { encoder, augmentation } = rest as { encoder?: { arch?: unknown }; augmentation?: { size?: unknown } };
  const method = known ? (rest.method as MethodName) : DEFAULT_METHOD;
  const side = augmentation?.size === undefined ? undefined : Number(augmentation.size);
  return merge(presetFor(preset as PresetName, method, encoder?.arch, side), rest);
}

export function valueAt(value: unknown, path: PropertyKey[]): unknown {
  return path.reduce<unknown>((v, key) => (v as Record<PropertyKey, unknown> | undefined)?.[key], value);
}

/** Turns zod's issues into "field, got, allowed", one entry for each bad field. */
export function fieldErrors(prefix: string, value: unknown, issues: readonly z.core.$ZodIssue[]): FieldError[] {
  const field = (path: PropertyKey[]) => [prefix, ...path.map(String)].filter(Boolean).join(".");
  return issues.flatMap((issue): FieldError[] => {
    if (issue.code === "unrecognized_keys") {
      return issue.keys.map((key) => ({
        field: field([...issue.path, key]),
        got: valueAt(value, [...issue.path, key]),
        allowed: noSuchField(issue.path, key),
      }));
    }
    return [{ field: field(issue.path), got: valueAt(value, issue.path), allowed: allowedBy(issue) }];
  });
}

/** A field of another method is a likely slip, so its methods are named. */
function noSuchField(path: PropertyKey[], key: string): string {
  const methods = path.length === 0 ? methodsWith(key) : [];
  return methods.length > 0 ? `no such field of this method; ${methods.join(", ")} have it` : "no such field";
}

/** What may stand in the field that decides which of several kinds a value is. */
const choices: Readonly<Record<string, readonly string[]>> = { method: methodNames, arch: encoderNames };

function allowedBy(issue: z.core.$ZodIssue): string {
  switch (issue.code) {
    case "too_small":
      return `${issue.inclusive ? "at least" : "more than"} ${issue.minimum}`;
    case "too_big":
      return `${issue.inclusive ? "at most" : "less than"} ${issue.maximum}`;
    case "invalid_value":
      return issue.values.map(String).join(", ");
    case "invalid_union":
      return ("discriminator" in issue && choices[issue.discriminator as string]?.join(", ")) || issue.message;
    case "invalid_type":
      return issue.expected;
    default:
      return issue.message;
  }
}

/** Validates a request's spec and completes it with preset and defaults. Throws SpecError with every bad field. */
export function parseSpec<T extends JobType>(type: T, spec: unknown): JobSpecs[T] {
  const given = typeof spec === "object" && spec !== null && "dataset" in spec;
  return parseStored(type, given ? { ...spec, dataset: withReading(spec.dataset) } : spec);
}

/**
 * The spec that a job has: of an earlier version it lacks what came later, which then is as it was before. Throws SpecError
 * with every bad field.
 */
export function parseStored<T extends JobType>(type: T, spec: unknown): JobSpecs[T] {
  const full = completed(type, spec);
  const parsed = schemas[type].safeParse(full);
  if (!parsed.success) throw new SpecError(fieldErrors("spec", full, parsed.error.issues));
  return parsed.data as JobSpecs[T];
}

export interface Progress {
  epoch: number;
  epochs: number;
  step: number;
  steps: number;
  loss: number | null;
  imagesPerSecond: number | null;
  /** Seconds left, by the pace so far. */
  eta: number | null;
  knn: number | null;
  /** Share of the training time spent waiting for images. */
  dataWait: number;
  /** From the snapshot of the newest checkpoint to the store, beside the training; null: there is none yet. */
  checkpointSeconds: number | null;
  /** How the training does, in words; null before the first epoch's end. */
  verdict: { state: string; message: string } | null;
}

/** What a forked run began with. */
export interface ForkSource {
  from: { id: string; step: number };
  /** state: everything goes on behind that step; weights: the encoders alone. */
  keep: "state" | "weights";
}

/** The pipeline that a job is part of, and its name there. */
export interface PipelineMember {
  id: string;
  job: string;
}

export interface Job {
  id: string;
  type: JobType;
  name: string | null;
  status: JobStatus;
  /** -1000 to 1000; the higher goes first, and among equals the one that was submitted first. */
  priority: number;
  /** Why it is not running, where that is not plain: what it waits for, or when it is tried again. */
  waitingFor: string | null;
  /** Of a queued job: how many are before it in its queue, and itself; null for any other. */
  position: number | null;
  forked: ForkSource | null;
  pipeline: PipelineMember | null;
  /** The submitter's own, free: up to 16 pairs. */
  metadata: Record<string, string>;
  progress: Progress | null;
  spec: JobSpecs[JobType];
  /** What is allowed but doubtful about the spec. */
  warnings: string[];
  result: unknown;
  error: string | null;
  createdAt: string;
  startedAt: string | null;
  finishedAt: string | null;
}
