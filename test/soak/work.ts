/** What a storm works on besides jobs: a study, whose report is to be that of one left in peace, and an import of a dataset. */
import { createHash, randomBytes } from "node:crypto";
import { LocalBlobs } from "../../src/store/local_blobs.ts";
import { PART_BYTES } from "../../src/store/stored_dataset.ts";
import { Uploads } from "../../src/store/uploads.ts";
import type { StudyReport } from "../../src/study/types.ts";
import { inRanges, serveFiles } from "../support/files_server.ts";
import { eventually } from "../support/helpers.ts";
import type { Cluster } from "./cluster.ts";

/** Nothing in its table is a measurement of the machine. */
export const studyOf = (cluster: Cluster) => ({
  title: "Temperatures in a storm",
  question: "Is the report the same?",
  paper: { citation: "none" },
  pipeline: {
    jobs: {
      pretrain: { type: "pretrain", spec: cluster.spec({ epochs: 4 }) },
      knn: { type: "knn", from: "pretrain", spec: { k: 5, baselines: false } },
    },
    sweep: { points: { cold: { "pretrain.temperature": 0.1 }, warm: { "pretrain.temperature": 0.5 } }, seeds: [0, 1] },
  },
  table: {
    columns: [
      { name: "kNN", job: "knn", figure: "top1", unit: "percent" },
      { name: "loss", job: "pretrain", metric: "loss", better: "lower" },
    ],
  },
  plots: [{ title: "kNN", x: "epoch", y: { job: "pretrain", metric: "knn" }, unit: "percent" }],
  claims: [{ better: "cold", than: "warm", in: "kNN" }],
});

/** All of a report that does not differ from run to run, once its jobs have ended. */
export async function reportOf({ client }: Cluster, id: string): Promise<Omit<StudyReport, "run">> {
  const { run, ...same } = JSON.parse(await client.studyReport(id, "json")) as StudyReport;
  return same;
}

/** Parts of the file that is imported. */
const PARTS = 4;

/** A web server with a file of some parts, each of which takes seconds. */
export function serveDataset() {
  const bytes = new Uint8Array(randomBytes(PARTS * PART_BYTES - 1000));
  bytes.set([0x50, 0x4b, 3, 4]); // by its first bytes a zip
  const server = serveFiles({
    "/noise.zip": [
      bytes,
      async (all, request) => {
        const isPart = Number(request.headers.get("range")?.match(/-(\d+)$/)?.[1]) > 0;
        if (isPart) await Bun.sleep(1500);
        return inRanges(all, request);
      },
    ],
  });
  const sha256 = createHash("sha256").update(bytes).digest("hex");
  return { url: `${server.url}/noise.zip`, sha256, bytes, stop: server.stop };
}
export type ServedDataset = ReturnType<typeof serveDataset>;

/** Begins an import and kills the API when some of it has arrived; gives its id. */
export async function interruptedImport({ client, api }: Cluster, { url, sha256 }: ServedDataset): Promise<string> {
  const { id } = await client.importDataset({ url, sha256 });
  await eventually(async () => (await client.dataset(id)).bytes > 0);
  await api.restart();
  return id;
}

/** What is wrong with the imported dataset; empty is what we want. */
export async function wrongImport(
  { client, storePath }: Cluster,
  id: string,
  { bytes }: ServedDataset,
): Promise<string[]> {
  const dataset = await eventually(async () => {
    const found = await client.dataset(id).catch(() => undefined); // the API may be starting
    return found && found.status !== "importing" && found;
  }, 300);
  if (dataset.status !== "ready") return [`import ${id}: ${dataset.status}: ${dataset.error}`];
  const uploads = new Uploads(new LocalBlobs(storePath));
  const record = await uploads.get(id);
  const parts = record ? await Promise.all(record.parts.map((_, i) => uploads.part(record, i + 1))) : [];
  return Buffer.concat(parts).equals(bytes) ? [] : [`import ${id}: its bytes differ`];
}
