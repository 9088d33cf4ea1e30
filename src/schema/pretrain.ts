/** A pretraining job's spec: a union over `method`, each with its own fields beside those that all have. */
import { z } from "zod";
import { type CommonSpec, commonRules, commonShape, type FieldRule, withRules } from "./common.ts";
import { methodSchemas } from "./methods/index.ts";
import type { MethodSchema } from "./methods/method.ts";
import type { SupervisedSpec } from "./methods/supervised.ts";

export type { AugmentationSpec, CommonSpec, EncoderSpec, OptimizerSpec } from "./common.ts";
export { strideOf } from "./common.ts";

type Shapes = (typeof methodSchemas)[number]["shape"];
type OptionOf<Shape> = Shape extends z.ZodRawShape ? z.ZodObject<typeof commonShape & Shape, z.core.$strict> : never;

/** The fields of `method` come first, as the most telling. */
const options = methodSchemas.map(({ shape, rules }) =>
  withRules(z.strictObject({ ...shape, ...commonShape }), [...commonRules, ...rules] as readonly FieldRule<never>[]),
);

/** Complete: after parsing nothing is optional and nothing defaults deeper down. */
export const pretrainSpec = z.discriminatedUnion(
  "method",
  options as unknown as readonly [OptionOf<Shapes>, ...OptionOf<Shapes>[]],
);
export type PretrainSpec = z.infer<typeof pretrainSpec>;
export type MethodName = PretrainSpec["method"];

/** What an engine can train: every method of pretraining, and supervised training. */
export type TrainSpec = PretrainSpec | SupervisedSpec;

/** A method's schema without the types of its own fields: what reads any method's. */
export type AnyMethodSchema = MethodSchema<z.ZodRawShape, CommonSpec & { method: string; dim: number }>;

const byName = new Map<string, AnyMethodSchema>(
  methodSchemas.flatMap((schema) =>
    namesOf(schema.shape).map((name) => [name, schema as unknown as AnyMethodSchema] as const),
  ),
);

/** What may stand in `method` for a schema. */
function namesOf(shape: z.ZodRawShape): string[] {
  const { method } = shape;
  if (method instanceof z.ZodEnum) return method.options as string[];
  return method instanceof z.ZodLiteral ? ([...method.values] as string[]) : [];
}

/** Names of all methods, in order. */
export const methodNames = [...byName.keys()] as [MethodName, ...MethodName[]];

/** @throws where there is no such method. */
export function schemaOf(method: string): AnyMethodSchema {
  const schema = byName.get(method);
  if (!schema) throw new Error(`method: got ${method}, allowed: ${methodNames.join(", ")}`);
  return schema;
}

/** Methods that have a field of their own of this name. */
export const methodsWith = (field: string): string[] => methodNames.filter((name) => field in schemaOf(name).shape);
