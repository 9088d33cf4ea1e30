/** The JSON schemas of specs, and the presets that complete them. */
import { createRoute, z } from "@hono/zod-openapi";
import { schemas as specSchemas } from "../src/schema/job.ts";
import { DEFAULT_METHOD } from "../src/schema/methods/index.ts";
import { presets } from "../src/schema/presets.ts";
import { methodNames, schemaOf as methodSchemaOf } from "../src/schema/pretrain.ts";
import type { JobType } from "../src/schema/types.ts";
import { badQuery, guarded, json, newApp } from "./routes.ts";
import * as schemas from "./schemas.ts";

const tags = ["service"];

/** The schema of what a request gives: fields with a default are optional. */
const schemaOf = (type: JobType): Record<string, unknown> => ({
  ...z.toJSONSchema(specSchemas[type], { io: "input" }),
});

const schemaRoute = createRoute({
  method: "get",
  path: "/v1/specs/{type}",
  operationId: "getSpecSchema",
  tags,
  summary: "Get the JSON schema of the spec of a type of job",
  request: {
    params: z.object({ type: schemas.type.openapi({ param: { name: "type", in: "path" }, example: "knn" }) }),
  },
  responses: {
    200: json(z.record(z.string(), z.unknown()), "JSON Schema, draft 2020-12", {
      type: "object",
      properties: { from: { type: "string" } },
      required: ["from"],
    }),
    ...badQuery,
    ...guarded,
  },
});
const presetsRoute = createRoute({
  method: "get",
  path: "/v1/presets",
  operationId: "listPresets",
  summary: "List the presets",
  tags,
  responses: {
    200: json(
      z.record(z.string(), z.record(z.string(), z.record(z.string(), z.unknown()))),
      "fields by preset and method; a pretrain spec sets those that differ",
      { small: { "moco-v2": { epochs: 10, temperature: 0.1 } } },
    ),
    ...guarded,
  },
});

const chart = z.object({
  title: z.string(),
  of: z.enum(["steps", "epochs"]).describe("steps: lines of /steps; epochs: lines of /metrics"),
  figures: z.array(z.string()).readonly().describe("names in these lines, dotted where they are nested"),
});
const method = z.object({
  name: z.string(),
  paper: z.string(),
  metrics: z.array(z.string()).readonly().describe("what every step measures besides the loss"),
  charts: z.array(chart).readonly(),
});
const methodsRoute = createRoute({
  method: "get",
  path: "/v1/methods",
  operationId: "listMethods",
  summary: "List the methods of pretraining",
  tags,
  responses: {
    200: json(z.object({ methods: z.array(method), default: z.string() }), "and the method of a spec that names none", {
      methods: [
        {
          name: "simclr",
          paper: "Chen et al. 2020 (arXiv 2002.05709)",
          metrics: ["top1"],
          charts: [{ title: "Accuracy", of: "steps" as const, figures: ["top1"] }],
        },
      ],
      default: "simclr",
    }),
    ...guarded,
  },
});

const methods = () =>
  methodNames.map((name) => {
    const { paper, metrics, charts } = methodSchemaOf(name);
    return { name, paper, metrics, charts };
  });

export const specRoutes = () =>
  newApp()
    .openapi(methodsRoute, (c) => c.json({ methods: methods(), default: DEFAULT_METHOD }, 200))
    .openapi(schemaRoute, (c) => c.json(schemaOf(c.req.valid("param").type), 200))
    .openapi(presetsRoute, (c) => c.json(presets as Record<string, Record<string, Record<string, unknown>>>, 200));
