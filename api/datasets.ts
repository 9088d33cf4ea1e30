/** Uploaded datasets over HTTP: begun, sent in parts, completed; listed, shown, deleted. */
import { createRoute, z } from "@hono/zod-openapi";
import type { Importer } from "../src/queue/imports/importer.ts";
import type { Jobs } from "../src/queue/jobs.ts";
import type { Sightings } from "../src/queue/pipelines/sightings.ts";
import { type Sighting, storedSpec } from "../src/schema/dataset.ts";
import { MOST_PARTS, PART_BYTES, type StoredDataset, withoutQuery } from "../src/store/stored_dataset.ts";
import type { Uploads } from "../src/store/uploads.ts";
import * as examples from "./examples.ts";
import { problem } from "./problem.ts";
import { conflict, failure, found, guarded, invalid, json, newApp } from "./routes.ts";
import * as schemas from "./schemas.ts";
import { expectUnused } from "./users.ts";

const tags = ["datasets"];
const id = z.string().openapi({ param: { name: "id", in: "path" }, example: examples.datasetId });
const missingDataset = failure(404, "there is no such dataset");

const beginRoute = createRoute({
  method: "post",
  path: "/v1/datasets",
  operationId: "createDataset",
  summary: "Begin the upload or the import of a dataset",
  description:
    `A tar, tar.gz, tar.zst or zip is sent in parts of ${PART_BYTES} bytes, the last one shorter, in any order and as often as ` +
    "needed; then it is completed. An upload that is not complete after two days is deleted. With a `url` " +
    `instead (${JSON.stringify(examples.newImport)}) the service imports the file itself: ` +
    "the answer comes at once, and `GET /v1/datasets/{id}` has `bytes` of `total` until the status is " +
    "ready, or failed with an `error`. http and https go to public addresses only, unless MOCOD_IMPORT_PRIVATE is 1; s3 " +
    "needs S3_* or AWS_* credentials in the environment of the API.",
  tags,
  request: { body: { required: true, ...json(schemas.newDataset, "its name, or its url", examples.newDataset) } },
  responses: { 201: json(schemas.dataset, "begun", examples.importing), ...invalid, ...guarded },
});
const partRoute = createRoute({
  method: "put",
  path: "/v1/datasets/{id}/parts/{part}",
  operationId: "putPart",
  summary: "Send a part of a dataset",
  tags,
  request: {
    params: z.object({
      id,
      part: z.coerce
        .number()
        .int()
        .min(1)
        .max(MOST_PARTS)
        .openapi({ param: { name: "part", in: "path" }, example: 1 }),
    }),
    body: {
      required: true,
      description: `bytes of the file; part n begins at (n - 1) * ${PART_BYTES}`,
      content: {
        "application/octet-stream": {
          schema: z.string().openapi({ format: "binary" }),
          example: "bytes of an archive",
        },
      },
    },
  },
  responses: {
    200: json(schemas.part, "arrived, with its SHA-256", { bytes: PART_BYTES, sha256: "0".repeat(64) }),
    ...missingDataset,
    ...failure(409, "the dataset is complete, or is imported"),
    ...invalid,
    ...guarded,
  },
});
const completeRoute = createRoute({
  method: "post",
  path: "/v1/datasets/{id}/complete",
  operationId: "completeDataset",
  summary: "Complete the upload of a dataset",
  description:
    "A file that was uploaded before is kept once: the answer is the dataset that has it, whose id may be another one.",
  tags,
  request: {
    params: z.object({ id }),
    body: { required: true, ...json(schemas.completion, "the checksum of the whole file", examples.completion) },
  },
  responses: {
    200: json(schemas.dataset, "complete: jobs may name it", examples.dataset),
    ...missingDataset,
    ...invalid,
    ...guarded,
  },
});
const listRoute = createRoute({
  method: "get",
  path: "/v1/datasets",
  operationId: "listDatasets",
  summary: "List uploaded datasets",
  tags,
  responses: {
    200: json(z.object({ datasets: z.array(schemas.dataset) }), "oldest first", { datasets: [examples.dataset] }),
    ...guarded,
  },
});
const getRoute = createRoute({
  method: "get",
  path: "/v1/datasets/{id}",
  operationId: "getDataset",
  summary: "Show a dataset",
  description:
    "`contents` is what a worker found in it, read as a new job would by default; null where no worker can tell at once. " +
    "The id of an import whose file was there already stands for the dataset that has it: the answer has the id of that one.",
  tags,
  request: { params: z.object({ id }) },
  responses: { 200: json(schemas.dataset, "the dataset", examples.dataset), ...missingDataset, ...guarded },
});
const deleteRoute = createRoute({
  method: "delete",
  path: "/v1/datasets/{id}",
  operationId: "deleteDataset",
  summary: "Delete a dataset, or stop its import",
  tags,
  request: { params: z.object({ id }) },
  responses: {
    204: { description: "deleted from the store; workers evict their copies when they need the room" },
    ...missingDataset,
    ...conflict,
    ...guarded,
  },
});

/** The last part of a URL's path; its host where there is none. */
function nameOf(url: string): string {
  const { host, pathname } = new URL(url);
  const last = pathname.replace(/\/+$/, "").split("/").at(-1) || host;
  // A path may have a % that encodes nothing.
  return last
    .replace(/(%[0-9a-f]{2})+/gi, (encoded) => Buffer.from(encoded.replaceAll("%", ""), "hex").toString())
    .slice(0, 200);
}

export function datasetRoutes(uploads: Uploads, importer: Importer, jobs: Jobs, sightings: Sightings) {
  async function contentsOf(record: StoredDataset): Promise<(Sighting & { error: null }) | { error: string } | null> {
    if (record.status !== "ready") return null;
    const seen = await sightings.ask(storedSpec(record.id), (await jobs.fleet.list()).length);
    if (!seen) return null;
    return "refused" in seen ? { error: seen.refused } : { ...seen.sighting, error: null };
  }
  const shown = async (record: StoredDataset, contents: Awaited<ReturnType<typeof contentsOf>> = null) => {
    const { parts, source, error = null, ...rest } = record;
    const arrived = record.status === "ready" ? undefined : await uploads.received(record.id);
    return {
      ...rest,
      bytes: arrived ? [...arrived.values()].reduce((sum, bytes) => sum + bytes, 0) : record.bytes,
      total: source?.total ?? null,
      url: source ? withoutQuery(source.url) : null,
      error,
      partBytes: PART_BYTES,
      received: [...(arrived?.keys() ?? [])],
      contents,
    } as z.infer<typeof schemas.dataset>;
  };
  const known = async (of: string) => found(await uploads.get(of), of, "dataset");
  return newApp()
    .openapi(beginRoute, async (c) => {
      const { name, url, sha256 = null } = c.req.valid("json");
      const record = url
        ? await importer.begin(name ?? nameOf(url), { url, sha256 })
        : await uploads.create(name as string);
      return c.json(await shown(record), 201);
    })
    .openapi(partRoute, async (c) => {
      const { id, part } = c.req.valid("param");
      const { status } = await known(id);
      if (status !== "uploading") {
        return problem(c, 409, `dataset ${id} is ${status === "ready" ? "complete" : status}`) as never;
      }
      const bytes = new Uint8Array(await c.req.arrayBuffer());
      return c.json(await uploads.put(id, part, bytes), 200);
    })
    .openapi(completeRoute, async (c) => {
      const { id } = c.req.valid("param");
      const record = found(await uploads.complete(id, c.req.valid("json").sha256), id, "dataset");
      return c.json(await shown(record, await contentsOf(record)), 200);
    })
    .openapi(listRoute, async (c) =>
      c.json({ datasets: await Promise.all((await uploads.all()).map((record) => shown(record))) }, 200),
    )
    .openapi(getRoute, async (c) => {
      const record = await known(c.req.valid("param").id);
      return c.json(await shown(record, await contentsOf(record)), 200);
    })
    .openapi(deleteRoute, async (c) => {
      const { id } = c.req.valid("param");
      await known(id);
      await expectUnused(jobs, uploads, id);
      await importer.cancel(id);
      await uploads.remove(id);
      return c.body(null, 204);
    });
}
