/** What a method's schema says: its own fields, what they may be, and how a run of it is judged. Nothing is computed here. */
import type { z } from "zod";
import type { CommonSpec, FieldRule } from "../common.ts";
import type { Evidence, Verdict } from "../verdict.ts";

export const presetNames = ["imagenet", "cifar", "small"] as const;
export type PresetName = (typeof presetNames)[number];

/** What is allowed but doubtful about a spec. */
export interface Warning {
  /** Fields of the spec that it is about. */
  readonly fields: readonly string[];
  readonly message: string;
}
/** `images`: how many are trained on, where it is known. */
export type LintRule<S> = (spec: S, images: number | undefined) => Warning | undefined;

/** A plot of a run's page: figures of each step, or of each epoch (dotted). */
export interface Chart {
  readonly title: string;
  readonly of: "steps" | "epochs";
  readonly figures: readonly string[];
}

export interface MethodSchema<Shape extends z.ZodRawShape, S = CommonSpec & z.infer<z.ZodObject<Shape>>> {
  /** Its own fields, `method` among them. */
  readonly shape: Shape;
  /** Where it is from. */
  readonly paper: string;
  readonly rules: readonly FieldRule<S>[];
  /** Own fields that decide the shape of what a checkpoint holds: a fork keeps them. */
  readonly shapes: readonly string[];
  /** Own fields that decide which images a step sees, or how: a fork that keeps the state keeps them. */
  readonly counted: readonly string[];
  /** What is measured of every step besides the loss, in the order in which the method gives it. */
  readonly metrics: readonly string[];
  /** Norms of the gradient are measured of every step too: `gradientNorm`, `gradientFirst`, `gradientLast`. */
  readonly watchesGradient?: true;
  readonly charts: readonly Chart[];
  readonly lint: readonly LintRule<S>[];
  judge(spec: S, evidence: Evidence): Verdict;
  /** By name of the preset and of the method. */
  readonly presets: Record<PresetName, Record<string, Omit<S, "dataset">>>;
  /** What takes a preset's place where the request names one of these encoders, by preset and `encoder.arch`. */
  readonly variants?: Partial<Record<PresetName, Readonly<Record<string, Omit<S, "dataset">>>>>;
}

/** Types a method's schema by its fields. */
export const methodSchema = <const Shape extends z.ZodRawShape>(of: MethodSchema<Shape>): MethodSchema<Shape> => of;
