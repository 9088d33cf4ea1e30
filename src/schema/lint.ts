/** What is allowed but doubtful about a spec: each warning with its reason and number. The rules are the method's. */
import type { Warning } from "./methods/method.ts";
import { type PretrainSpec, schemaOf } from "./pretrain.ts";

export type { Warning } from "./methods/method.ts";

/** `images`: how many are trained on, where it is known. */
export function lint(spec: PretrainSpec, images?: number): Warning[] {
  return schemaOf(spec.method).lint.flatMap((rule) => rule(spec, images) ?? []);
}
