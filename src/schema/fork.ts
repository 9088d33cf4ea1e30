/** What may change when a run goes on as another one, or for longer. */
import { type FieldError, type ForkSource, parseSpec, parseStored, SpecError, valueAt } from "./job.ts";
import { merge } from "./merge.ts";
import { type PretrainSpec, schemaOf } from "./pretrain.ts";

/** Of every method: what decides the shapes of what a checkpoint holds. */
const shapes = ["method", "encoder"];
/** And what gives a step its number, its images and its optimiser. */
const counted = ["dataset", "batchSize", "optimizer.algorithm", "monitor.holdout"];

/** Fields that a fork may not change. Methods of one algorithm, as MoCo v1 and v2, count as one. */
function fixed({ method }: PretrainSpec, keep: ForkSource["keep"]): string[] {
  const schema = schemaOf(method);
  const state = keep === "state" ? [...counted, ...schema.counted] : [];
  return [...shapes, ...schema.shapes, ...state];
}

/** The source's spec with `changes`. Throws SpecError that names every field which may not change. */
export function forkSpec(source: PretrainSpec, changes: object, keep: ForkSource["keep"]): PretrainSpec {
  // Another dataset is read as a new job's is, the same one as it was.
  const { dataset } = changes as { dataset?: { kind?: unknown } };
  const spec = (dataset?.kind === undefined ? parseStored : parseSpec)("pretrain", merge(source, changes));
  const errors = fixed(source, keep).flatMap((path): FieldError[] => {
    const [was, is] = [source, spec].map((of) => valueAt(of, path.split(".")));
    if (JSON.stringify(was) === JSON.stringify(is)) return [];
    if (path === "method" && schemaOf(source.method) === schemaOf(spec.method)) return [];
    const allowed = `${JSON.stringify(was)}, as in the run that is forked with its ${keep}`;
    return [{ field: `spec.${path}`, got: is, allowed }];
  });
  if (errors.length > 0) throw new SpecError(errors);
  return spec;
}

/** The same spec with more epochs. Throws SpecError where they are not more. */
export function extendSpec(spec: PretrainSpec, epochs: number): PretrainSpec {
  if (epochs < spec.epochs) {
    throw new SpecError([{ field: "epochs", got: epochs, allowed: `more than ${spec.epochs}, which the run has` }]);
  }
  return parseStored("pretrain", { ...spec, epochs });
}
