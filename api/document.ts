/** The OpenAPI document, and Swagger UI to read it. */
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import type { OpenAPIHono } from "@hono/zod-openapi";
import { VERSION } from "../src/util/version.ts";

const SWAGGER = dirname(createRequire(import.meta.url).resolve("swagger-ui-dist/package.json"));

const info = {
  title: "mocod",
  version: VERSION,
  description:
    "Self-supervised pretraining as a service: submit a job, follow it, judge its encoder. Every error is " +
    "`application/problem+json` (RFC 9457) and names each invalid field, its value and what is allowed.",
  license: { name: "Apache 2.0", identifier: "Apache-2.0" },
};
const tags = [
  { name: "jobs", description: "Submit, find, show and delete jobs." },
  { name: "actions", description: "Pause, resume, cancel, retry, extend and fork." },
  { name: "outputs", description: "Events, metrics, logs, checkpoints, files, and searches among images." },
  { name: "pipelines", description: "Graphs of jobs and sweeps, and one table of their results." },
  { name: "studies", description: "Tables of papers: pipelines with a report." },
  { name: "webhooks", description: "Events that are sent to a URL." },
  { name: "service", description: "Workers and plans." },
];

const page = `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>mocod API</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="/docs/swagger-ui.css">
</head>
<body>
<main id="docs"></main>
<script src="/docs/swagger-ui-bundle.js"></script>
<script src="/docs/start.js"></script>
</body>
</html>
`;
const start = `SwaggerUIBundle({ url: "/openapi.json", dom_id: "#docs", deepLinking: true, persistAuthorization: true,
  docExpansion: "list", defaultModelsExpandDepth: 0, tryItOutEnabled: true, validatorUrl: null });
`;

export function addDocument(app: OpenAPIHono): void {
  app.openAPIRegistry.registerComponent("securitySchemes", "key", {
    type: "http",
    scheme: "bearer",
    description: "a key, as `mocod keys create` prints it",
  });
  app.doc31("/openapi.json", (c) => ({
    openapi: "3.1.0",
    info,
    tags,
    servers: [{ url: new URL(c.req.url).origin }],
    // The second alternative: an API on loopback without keys requires none.
    security: [{ key: [] }, {} as Record<string, string[]>],
  }));
  app.get("/docs", (c) => c.html(page));
  app.get("/docs/start.js", (c) => c.body(start, 200, { "content-type": "text/javascript; charset=utf-8" }));
  for (const [name, type] of [
    ["swagger-ui.css", "text/css"],
    ["swagger-ui-bundle.js", "text/javascript"],
  ] as const) {
    const headers = { "content-type": `${type}; charset=utf-8`, "cache-control": "max-age=86400" };
    app.get(`/docs/${name}`, () => new Response(Bun.file(join(SWAGGER, name)), { headers }));
  }
}
