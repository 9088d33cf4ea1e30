/** Refuses a job whose images are not there or do not serve it, where a worker can tell at once. */
import { isAbsolute } from "node:path";
import type { Jobs } from "../src/queue/jobs.ts";
import type { Sightings } from "../src/queue/pipelines/sightings.ts";
import { colourFields, noColours } from "../src/schema/colours.ts";
import { type DatasetSpec, namedPathsOf, type Sighting, shares } from "../src/schema/dataset.ts";
import type { RetrievalSpec, ZeroShotSpec } from "../src/schema/evaluation.ts";
import { type FieldError, type JobSpecs, type JobType, SpecError } from "../src/schema/job.ts";
import type { PlannedJob } from "../src/schema/pipeline.ts";
import type { PretrainSpec } from "../src/schema/pretrain.ts";
import { textJobs } from "../src/schema/types.ts";
import type { Uploads } from "../src/store/uploads.ts";

/** Jobs that judge an encoder on test images and their classes. */
const JUDGES: readonly JobType[] = ["linear-probe", "knn", "fine-tune"];

/** Throws SpecError for a path that depends on where a process was started. */
export function expectAbsolute(dataset: DatasetSpec): void {
  const errors = namedPathsOf(dataset)
    .filter(([, got]) => !isAbsolute(got))
    .map(
      ([field, got]): FieldError => ({
        field: `spec.dataset.${field}`,
        got,
        allowed: "an absolute path: it is a path of the worker's machine",
      }),
    );
  if (errors.length > 0) throw new SpecError(errors);
}

function pretrainErrors(spec: PretrainSpec, { train, channels }: Sighting): FieldError[] {
  const { batchSize, monitor, dataset } = spec;
  const colours = colourFields(spec.augmentation, channels);
  if (colours.length > 0) {
    const allowed = noColours(channels);
    return colours.map(([field, got]) => ({ field: `spec.augmentation.${field}`, got, allowed }));
  }
  const left = shares(train, monitor.holdout, dataset.images).trained;
  if (left >= batchSize) return [];
  const allowed = `at most ${left}: so many of the dataset's ${train} images are left to train on`;
  return [{ field: "spec.batchSize", got: batchSize, allowed }];
}

function judgeErrors(own: boolean, { test, classes }: Sighting): FieldError[] {
  const field = own ? "spec.dataset" : "spec.from";
  const whose = own ? "this one" : "the dataset of this run";
  if (classes !== undefined && classes < 2) {
    return [{ field, got: classes, allowed: `images of two classes or more (a folder each); ${whose} has ${classes}` }];
  }
  if (test !== null) return [];
  const allowed =
    `images with a test part: ${whose} has none. Give spec.dataset with a folder test or val beside train, with ` +
    "dataset.test, or with dataset.holdout, which takes a share of each class";
  return [{ field, got: null, allowed }];
}

/** Of a job with a text tower. */
function textErrors(spec: ZeroShotSpec | RetrievalSpec, { test, classes }: Sighting): FieldError[] {
  const field = spec.dataset ? "spec.dataset" : "spec.from";
  if (spec.split === "test" && test === null) {
    const allowed = '"train": there are no test images; or a dataset with a test part';
    return [{ field: "spec.split", got: spec.split, allowed }];
  }
  if (!("classes" in spec) || classes === undefined) return [];
  if (classes < 2) return [{ field, got: classes, allowed: "images of two classes or more (a folder each)" }];
  if (spec.classes === "dataset" || spec.classes.length === classes) return [];
  const allowed = `${classes} names, one for each class of the dataset in their order; or "dataset"`;
  return [{ field: "spec.classes", got: spec.classes.length, allowed }];
}

function errorsOf(type: JobType, spec: JobSpecs[JobType], seen: Sighting): FieldError[] {
  if (type === "pretrain") return pretrainErrors(spec as PretrainSpec, seen);
  if (textJobs.includes(type)) return textErrors(spec as ZeroShotSpec | RetrievalSpec, seen);
  return JUDGES.includes(type) ? judgeErrors("dataset" in spec && spec.dataset !== undefined, seen) : [];
}

export interface ImageChecks {
  /** Throws SpecError that names the field. Where no worker can tell at once the job is accepted, and fails when it starts. */
  job(type: JobType, spec: JobSpecs[JobType]): Promise<void>;
  /** The same of every job of a pipeline; the first one that is refused is named. */
  pipeline(jobs: readonly PlannedJob[]): Promise<void>;
}

export function imageChecks(jobs: Jobs, sightings: Sightings, uploads: Uploads): ImageChecks {
  const look = async (dataset: DatasetSpec) => sightings.ask(dataset, (await jobs.fleet.list()).length);

  async function expectStored(id: string, own: boolean): Promise<void> {
    const record = await uploads.get(id);
    if (record?.status === "ready") return;
    if (!own) {
      const allowed = "a run whose dataset there still is; or give spec.dataset";
      throw new SpecError([{ field: "spec.from", got: id, allowed }]);
    }
    const allowed = record ? "a dataset whose upload is complete" : "the id of a dataset: GET /v1/datasets lists them";
    throw new SpecError([{ field: "spec.dataset.id", got: id, allowed }]);
  }

  async function check(
    type: JobType,
    spec: JobSpecs[JobType],
    source: PretrainSpec | undefined,
    see: typeof look,
  ): Promise<void> {
    const own = "dataset" in spec ? spec.dataset : undefined;
    if (own) expectAbsolute(own);
    const dataset = own ?? source?.dataset;
    if (dataset?.kind === "stored") await expectStored(dataset.id, own !== undefined);
    const place = dataset && ("path" in dataset ? dataset.path : "id" in dataset ? dataset.id : undefined);
    if (!dataset || place === undefined || (!own && ![...JUDGES, ...textJobs].includes(type))) return;
    const seen = await see(dataset);
    if (!seen) return;
    if ("refused" in seen) {
      const field = own ? `spec.dataset.${own.kind === "stored" ? "id" : "path"}` : "spec.from";
      throw new SpecError([{ field, got: place, allowed: seen.refused }]);
    }
    const errors = errorsOf(type, spec, seen.sighting);
    if (errors.length > 0) throw new SpecError(errors);
  }

  const sourceOf = async (spec: JobSpecs[JobType]) =>
    "from" in spec ? ((await jobs.records.read(spec.from))?.spec as PretrainSpec | undefined) : undefined;

  return {
    job: async (type, spec) => check(type, spec, await sourceOf(spec), look),
    async pipeline(planned) {
      // Hundreds of jobs of a sweep are on the same images.
      const seen = new Map<string, ReturnType<typeof look>>();
      const see: typeof look = (dataset) => {
        const key = JSON.stringify(dataset);
        const answer = seen.get(key) ?? look(dataset);
        seen.set(key, answer);
        return answer;
      };
      const own = new Map(planned.map(({ id, spec }) => [id, spec]));
      for (const { node, type, spec } of planned) {
        const source = "from" in spec ? (own.get(spec.from) as PretrainSpec | undefined) : undefined;
        await check(type, spec, source ?? (await sourceOf(spec)), see).catch((error: unknown) => {
          if (!(error instanceof SpecError)) throw error;
          throw new SpecError(error.errors.map((of) => ({ ...of, field: `jobs.${node}.${of.field}` })));
        });
      }
    },
  };
}
