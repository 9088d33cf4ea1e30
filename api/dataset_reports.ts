/** What a worker finds in a stored dataset, image by image: computed once, kept beside it. */
import { createRoute, z } from "@hono/zod-openapi";
import type { Context } from "hono";
import { type Inspection, type Inspections, keptName } from "../src/queue/inspections.ts";
import type { Jobs } from "../src/queue/jobs.ts";
import type { Uploads } from "../src/store/uploads.ts";
import * as examples from "./examples.ts";
import { problem } from "./problem.ts";
import { badQuery, failure, found, guarded, json, newApp, params } from "./routes.ts";
import * as schemas from "./schemas.ts";

const tags = ["datasets"];
const RETRY_S = 2;
const MOST_THUMBNAILS = 256;

const id = params.shape.id.openapi({ param: { name: "id", in: "path" }, example: examples.datasetId });
const computing = z.object({ status: z.literal("computing") });
const failures = {
  202: json(computing, "a worker computes it: ask again after the seconds of the header retry-after", {
    status: "computing",
  }),
  ...failure(404, "there is no such dataset"),
  ...failure(409, "the dataset is not complete"),
  ...guarded,
};

const reportRoute = createRoute({
  method: "get",
  path: "/v1/datasets/{id}/report",
  operationId: "getDatasetReport",
  summary: "Show what is in a dataset, image by image",
  description:
    "A worker decodes every image, as `mocod data check` does, once for a dataset: counts, classes, sizes, broken files, what " +
    "is left out, mean and deviation. The answer is 202 until it is done, 503 where no worker is running.",
  tags,
  request: { params: z.object({ id }) },
  responses: {
    200: json(schemas.datasetReport, "read as a new job would by default", examples.datasetReport),
    ...failures,
    ...failure(422, "the dataset cannot be read"),
  },
});
const thumbnailsRoute = createRoute({
  method: "get",
  path: "/v1/datasets/{id}/thumbnails",
  operationId: "getThumbnails",
  summary: "Show images of a dataset on one sheet",
  description:
    "Training images of 64 x 64 pixels, evenly spread over the dataset, row by row in a square. The answer is 202 until a worker " +
    "has drawn them, 503 where none is running.",
  tags,
  request: {
    params: z.object({ id }),
    query: z.object({
      count: z.coerce
        .number()
        .int()
        .min(1)
        .max(MOST_THUMBNAILS)
        .default(64)
        .describe("images, where there are so many"),
    }),
  },
  responses: {
    200: {
      description: "the sheet",
      content: { "image/png": { schema: z.string().openapi({ format: "binary" }), example: "bytes of a PNG" } },
    },
    ...failures,
    ...badQuery,
  },
});

export function datasetReportRoutes(uploads: Uploads, inspections: Inspections, jobs: Jobs) {
  async function answer(c: Context, of: Inspection, type: string): Promise<Response> {
    const { id, status } = found(await uploads.get(of.id), of.id, "dataset");
    if (status !== "ready") return problem(c, 409, `dataset ${of.id} is ${status}, not complete`);
    const inspection = { ...of, id };
    const read = () => uploads.kept(id, keptName(inspection));
    let bytes = await read();
    if (!bytes && (await inspections.ask(inspection, (await jobs.fleet.list()).length))) bytes = await read();
    // A dataset never changes.
    const headers = { "content-type": type, "cache-control": "private, max-age=3600" };
    if (bytes) return c.body(bytes as Uint8Array<ArrayBuffer>, 200, headers);
    return c.json({ status: "computing" }, 202, { "retry-after": String(RETRY_S) });
  }
  return newApp()
    .openapi(
      reportRoute,
      (c) => answer(c, { what: "report", id: c.req.valid("param").id }, "application/json") as never,
    )
    .openapi(thumbnailsRoute, (c) => {
      const { count } = c.req.valid("query");
      return answer(c, { what: "thumbnails", id: c.req.valid("param").id, count }, "image/png") as never;
    });
}
