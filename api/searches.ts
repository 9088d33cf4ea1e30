/** Searches over HTTP: the images of a retrieval job that are nearest to a sentence. */
import { createRoute } from "@hono/zod-openapi";
import type { Jobs } from "../src/queue/jobs.ts";
import { ConflictError } from "../src/queue/life/life.ts";
import type { Searches } from "../src/queue/searches.ts";
import { SpecError } from "../src/schema/job.ts";
import { keepOpen } from "./events.ts";
import * as examples from "./examples.ts";
import { conflict, found, guarded, invalid, json, missing, newApp, params } from "./routes.ts";
import * as schemas from "./schemas.ts";

const searchRoute = createRoute({
  method: "post",
  path: "/v1/jobs/{id}/search",
  operationId: "searchImages",
  tags: ["outputs"],
  summary: "Find images by a sentence",
  description:
    "Of a retrieval job that has succeeded: a worker embeds the sentence with the text tower that the job used, and compares it " +
    "with the features of all its images. The answer is 503 where no worker is running.",
  request: { params, body: { required: true, ...json(schemas.search, "the sentence", examples.search) } },
  responses: {
    200: json(schemas.searched, "nearest first", examples.searched),
    ...missing,
    ...conflict,
    ...invalid,
    ...guarded,
  },
});

export const searchRoutes = (jobs: Jobs, searches: Searches) =>
  newApp().openapi(searchRoute, async (c) => {
    keepOpen(c);
    const { id } = c.req.valid("param");
    const { type, status } = found(await jobs.records.get(id), id);
    if (type !== "retrieval") {
      throw new SpecError([{ field: "id", got: id, allowed: `a retrieval job: a ${type} job has nothing to search` }]);
    }
    if (status !== "succeeded") throw new ConflictError(status, `the job is ${status}; a search is for succeeded ones`);
    const workers = await jobs.fleet.list();
    return c.json({ images: await searches.ask({ id, ...c.req.valid("json") }, workers.length) }, 200);
  });
