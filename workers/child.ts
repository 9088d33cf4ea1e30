/** The process that computes one job. It never touches Redis, and ends when its worker does. */
import { constants, getPriority, setPriority } from "node:os";
import { join } from "node:path";
import { chooseDevice } from "../src/backend/choose.ts";
import { DeviceLostError, DeviceMemoryError } from "../src/backend/errors.ts";
import { checkDataset } from "../src/data/check.ts";
import { sightDataset } from "../src/data/sighting.ts";
import type { DataContext } from "../src/data/types.ts";
import { evaluate } from "../src/judge/index.ts";
import { TEMPORARY } from "../src/judge/journal.ts";
import { search } from "../src/judge/search.ts";
import { planMemory } from "../src/plan/memory.ts";
import { plan } from "../src/plan/plan.ts";
import { keptName } from "../src/queue/inspections.ts";
import { storedSpec } from "../src/schema/dataset.ts";
import type { EvaluationType, JobSpecs } from "../src/schema/job.ts";
import { datasetCache } from "../src/store/dataset_cache.ts";
import { FencedError, StoreError } from "../src/store/errors.ts";
import { openBlobs } from "../src/store/open_blobs.ts";
import { RunStore } from "../src/store/run_store.ts";
import { openBucket } from "../src/store/s3_blobs.ts";
import { Uploads } from "../src/store/uploads.ts";
import { pretrain } from "../src/train/pretrain.ts";
import type { Reporter, StopReason } from "../src/train/reporter.ts";
import { thumbnails } from "../src/train/thumbnails.ts";
import { CacheFolder } from "../src/util/cache_folder.ts";
import { messageOf, UserError } from "../src/util/errors.ts";
import { dieWithParent } from "./orphan.ts";
import type {
  DataPlaces,
  Ending,
  FromChild,
  InspectMessage,
  PlanMessage,
  SearchMessage,
  SightMessage,
  StartMessage,
  ToChild,
} from "./protocol.ts";

/** Minimum interval between two `alive` messages. */
const ALIVE_MS = 1000;

const send = (message: FromChild) => process.send?.(message);

let stop: StopReason | undefined;
const stopping = Promise.withResolvers<void>();
const requests: ((granted: boolean) => void)[] = [];

/** Asks the worker for permission to publish; throws FencedError where another worker has the job. */
async function permit(): Promise<void> {
  const granted = await new Promise<boolean>((resolve) => {
    requests.push(resolve);
    send({ kind: "permit" });
  });
  if (!granted) throw new FencedError("another worker has taken over the job");
}

let lastAlive = 0;
function alive(): void {
  const now = performance.now();
  if (now - lastAlive < ALIVE_MS) return;
  lastAlive = now;
  send({ kind: "alive" });
}

/** What loading a dataset may use. */
function dataContext(
  { storeUrl, dataDir, datasetRoots, cacheLimit }: DataPlaces,
  log: (message: string) => void,
): DataContext {
  const cache = join(dataDir, "datasets");
  const stored = datasetCache(new Uploads(openBlobs(storeUrl)), {
    cache: new CacheFolder(cache, cacheLimit, log),
    log,
    alive,
  });
  return { cache, cacheLimit, roots: datasetRoots, log, stored, bucket: openBucket, alive };
}

async function run(start: StartMessage): Promise<Ending> {
  const { where, threads, device } = start;
  const { storeUrl } = where;
  const report: Reporter = {
    ...dataContext(where, (message) => send({ kind: "log", message })),
    progress: (progress) => send({ kind: "progress", progress }),
    warnings: (warnings) => send({ kind: "warnings", warnings }),
    stopRequested: () => stop,
    stopping: stopping.promise,
    permit,
  };
  const blobs = openBlobs(storeUrl);
  const own = new RunStore(blobs, start.runId, permit);
  const outcome = start.source
    ? await evaluate(start.type as EvaluationType, start.spec as JobSpecs[EvaluationType], {
        pretrained: start.source.spec,
        source: new RunStore(blobs, start.source.runId),
        own,
        computing: { threads, device },
        report,
      })
    : await pretrain(start.spec as JobSpecs["pretrain"], own, { threads, device }, report);
  if ("stopped" in outcome) return { kind: "stopped", why: outcome.stopped };
  await own.finish(outcome.result, start.source ? TEMPORARY : []);
  return { kind: "done", result: outcome.result };
}

function failure(error: unknown): Ending {
  const message = messageOf(error);
  if (error instanceof UserError) return { kind: "failed", cause: "final", message };
  if (error instanceof FencedError) return { kind: "failed", cause: "fenced", message };
  if (error instanceof StoreError) return { kind: "failed", cause: "store", message };
  if (error instanceof DeviceLostError || error instanceof DeviceMemoryError) {
    return { kind: "failed", cause: "device", message: `${error.name}: ${message}` };
  }
  return { kind: "failed", cause: "other", message: error instanceof Error ? (error.stack ?? message) : message };
}

async function probe(device: "auto" | "webgpu" | "wasm"): Promise<void> {
  try {
    const { found, why } = await chooseDevice(device);
    send({ kind: "device", webgpu: found !== undefined, name: found ? `webgpu: ${found.description.name}` : why });
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    send({ kind: "device", webgpu: false, name: error.message });
  }
}

async function sight({ dataset, where }: SightMessage): Promise<FromChild> {
  return {
    kind: "sighted",
    sighting:
      (await sightDataset(
        dataset,
        dataContext(where, () => undefined),
      )) ?? null,
  };
}

/** At a lower priority: a job that trains on the same cores has more of them. */
async function inspect({ inspection, where }: InspectMessage): Promise<FromChild> {
  setPriority(Math.max(getPriority(), constants.priority.PRIORITY_BELOW_NORMAL));
  const { id } = inspection;
  const context = dataContext(where, () => undefined);
  const found =
    inspection.what === "report"
      ? JSON.stringify(await checkDataset(storedSpec(id), context))
      : await thumbnails(storedSpec(id), inspection.count, context);
  await new Uploads(openBlobs(where.storeUrl)).keep(id, keptName(inspection), found);
  return { kind: "inspected" };
}

async function planRun({ spec, only, where, threads, device }: PlanMessage): Promise<FromChild> {
  const context = dataContext(where, () => undefined);
  if (only) return { kind: "planned memory", plan: await planMemory(spec, threads, context) };
  return { kind: "planned", plan: await plan(spec, { threads, device }, context) };
}

async function find({ search: asked, where }: SearchMessage): Promise<FromChild> {
  return { kind: "found", images: await search(openBlobs(where.storeUrl), asked) };
}

process.on("message", (message: ToChild) => {
  if (message.kind === "permit") requests.shift()?.(message.granted);
  else if (message.kind === "probe") probe(message.device);
  else if (message.kind === "plan") planRun(message).then(send, (error: unknown) => send(failure(error)));
  else if (message.kind === "sight") sight(message).then(send, (error: unknown) => send(failure(error)));
  else if (message.kind === "inspect") inspect(message).then(send, (error: unknown) => send(failure(error)));
  else if (message.kind === "search") find(message).then(send, (error: unknown) => send(failure(error)));
  else if (message.kind === "start") run(message).then(send, (error: unknown) => send(failure(error)));
  else {
    stop = message.why;
    stopping.resolve();
  }
});

// Ctrl-C and a service manager's SIGTERM reach the whole process group; the worker decides what the child does.
process.on("SIGINT", () => undefined);
process.on("SIGTERM", () => undefined);
// The worker has died: another one will resume the job, so nothing more may be written here.
process.on("disconnect", () => process.exit(1));
dieWithParent();
send({ kind: "ready" });
