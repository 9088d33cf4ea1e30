/** Webhooks over HTTP. They make the service send requests to other systems, and need the admin scope. */
import { createRoute, z } from "@hono/zod-openapi";
import { targetOf } from "../src/queue/addresses.ts";
import { SpecError } from "../src/schema/job.ts";
import type { Webhooks } from "../src/store/webhooks.ts";
import { messageOf } from "../src/util/errors.ts";
import * as examples from "./examples.ts";
import { UnknownError } from "./problem.ts";
import { guarded, invalid, json, missingWebhook, newApp, params } from "./routes.ts";
import * as schemas from "./schemas.ts";

const tags = ["webhooks"];

const createWebhook = createRoute({
  method: "post",
  path: "/v1/webhooks",
  operationId: "createWebhook",
  summary: "Create a webhook: events are sent to a URL",
  tags,
  description:
    "Requests are signed as Standard Webhooks specifies (HMAC-SHA256; headers webhook-id, webhook-timestamp and " +
    "webhook-signature), and repeated for a day until they are answered with 2xx. The webhook-id identifies the event. " +
    "Addresses that are not public are refused unless MOCOD_WEBHOOK_PRIVATE is 1.",
  request: {
    body: { required: true, ...json(schemas.webhookSubmission, "the URL and the events", examples.newWebhook) },
  },
  responses: {
    201: json(schemas.secretWebhook, "created; the secret is returned only here", examples.secretWebhook),
    ...invalid,
    ...guarded,
  },
});
const listWebhooks = createRoute({
  method: "get",
  path: "/v1/webhooks",
  operationId: "listWebhooks",
  summary: "List webhooks",
  tags,
  responses: {
    200: json(z.object({ webhooks: z.array(schemas.webhook) }), "oldest first, without secrets", {
      webhooks: [examples.webhook],
    }),
    ...guarded,
  },
});
const deleteWebhook = createRoute({
  method: "delete",
  path: "/v1/webhooks/{id}",
  operationId: "deleteWebhook",
  summary: "Delete a webhook",
  tags,
  request: {
    params: z.object({
      id: params.shape.id.openapi({ param: { name: "id", in: "path" }, example: examples.webhookId }),
    }),
  },
  responses: { 204: { description: "deleted; nothing more is sent" }, ...missingWebhook, ...guarded },
});

export const webhookRoutes = (hooks: Webhooks, allowPrivate: boolean) =>
  newApp()
    .openapi(createWebhook, async (c) => {
      const { url, events } = c.req.valid("json");
      try {
        await targetOf(new URL(url), allowPrivate, "MOCOD_WEBHOOK_PRIVATE");
      } catch (error) {
        throw new SpecError([{ field: "url", got: url, allowed: messageOf(error) }]);
      }
      return c.json(await hooks.create(url, events), 201);
    })
    .openapi(listWebhooks, async (c) => {
      const all = await hooks.all();
      return c.json({ webhooks: all.map(({ secret, ...hook }) => hook) }, 200);
    })
    .openapi(deleteWebhook, async (c) => {
      const { id } = c.req.valid("param");
      if (!(await hooks.remove(id))) throw new UnknownError("webhook", id);
      return c.body(null, 204);
    });
