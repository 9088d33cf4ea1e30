/** The HTTP application. Loads no tensor library and opens no port. */

import type { Feed } from "../src/queue/events/feed.ts";
import type { Importer } from "../src/queue/imports/importer.ts";
import type { Inspections } from "../src/queue/inspections.ts";
import type { Jobs } from "../src/queue/jobs.ts";
import type { Plans } from "../src/queue/pipelines/plans.ts";
import type { Sightings } from "../src/queue/pipelines/sightings.ts";
import type { Searches } from "../src/queue/searches.ts";
import type { ApiKeys } from "../src/store/api_keys.ts";
import type { Uploads } from "../src/store/uploads.ts";
import type { Webhooks } from "../src/store/webhooks.ts";
import { actionRoutes } from "./actions.ts";
import { addPage } from "./assets.ts";
import { addBoard } from "./board.ts";
import { datasetReportRoutes } from "./dataset_reports.ts";
import { datasetRoutes } from "./datasets.ts";
import { addDocument } from "./document.ts";
import { eventRoutes } from "./events.ts";
import { addGuard, type GuardOptions } from "./guard.ts";
import { addHealth } from "./health.ts";
import { imageChecks } from "./images.ts";
import { jobRoutes } from "./jobs.ts";
import { outputRoutes } from "./outputs.ts";
import { pipelineRoutes } from "./pipelines.ts";
import { planRoutes } from "./plans.ts";
import { problem, problemOf } from "./problem.ts";
import { newApp } from "./routes.ts";
import { searchRoutes } from "./searches.ts";
import { specRoutes } from "./specs.ts";
import { studyRoutes } from "./studies.ts";
import { webhookRoutes } from "./webhooks.ts";

export interface AppDeps {
  jobs: Jobs;
  feed: Feed;
  plans: Plans;
  sightings: Sightings;
  uploads: Uploads;
  importer: Importer;
  inspections: Inspections;
  searches: Searches;
  hooks: Webhooks;
  apiKeys: ApiKeys;
  guard: GuardOptions;
}

export function createApp({
  jobs,
  feed,
  plans,
  sightings,
  uploads,
  importer,
  inspections,
  searches,
  hooks,
  apiKeys,
  guard,
}: AppDeps) {
  const app = newApp();
  const images = imageChecks(jobs, sightings, uploads);
  app.onError((error, c) => problemOf(c, error));
  app.notFound((c) => problem(c, 404, `there is nothing at ${c.req.path}`));
  addGuard(app, apiKeys, guard);
  addPage(app);
  addHealth(app, jobs);
  addDocument(app);
  addBoard(app, jobs);
  app.route("/", eventRoutes(jobs.records, feed));
  // Chained, so that the types of the client can be inferred from the routes.
  return app
    .route("/", jobRoutes(jobs, images))
    .route("/", actionRoutes(jobs))
    .route("/", outputRoutes(jobs.records, jobs.fleet))
    .route("/", searchRoutes(jobs, searches))
    .route("/", pipelineRoutes(jobs.pipelines, images))
    .route("/", studyRoutes(jobs, images, plans))
    .route("/", planRoutes(jobs.fleet, plans))
    .route("/", datasetRoutes(uploads, importer, jobs, sightings))
    .route("/", datasetReportRoutes(uploads, inspections, jobs))
    .route("/", specRoutes())
    .route("/", webhookRoutes(hooks, guard.webhookPrivate));
}

/** The type that the client is derived from, see client.ts. */
export type AppType = ReturnType<typeof createApp>;
