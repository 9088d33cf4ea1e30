/** What operators use: traces, logs, the board of the queues, metrics. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { Client } from "../../cli/client.ts";
import { ApiKeys } from "../../src/store/api_keys.ts";
import { LocalBlobs } from "../../src/store/local_blobs.ts";
import { startTelemetry } from "../../src/util/telemetry.ts";
import { eventually } from "../support/helpers.ts";
import { type Service, startService } from "../support/service.ts";

interface Span {
  traceId: string;
  spanId: string;
  parentSpanId?: string;
  name: string;
}

let service: Service;
let collector: Bun.Server<undefined>;
const spans: { service: string; span: Span }[] = [];
const stopTelemetry: (() => Promise<void>)[] = [];

beforeAll(async () => {
  collector = Bun.serve({
    port: 0,
    hostname: "127.0.0.1",
    async fetch(request) {
      const { resourceSpans } = (await request.json()) as {
        resourceSpans: {
          resource: { attributes: { key: string; value: { stringValue?: string } }[] };
          scopeSpans: { spans: Span[] }[];
        }[];
      };
      for (const { resource, scopeSpans } of resourceSpans) {
        const name = resource.attributes.find(({ key }) => key === "service.name")?.value.stringValue ?? "";
        for (const span of scopeSpans.flatMap((scope) => scope.spans)) spans.push({ service: name, span });
      }
      return new Response("{}", { headers: { "content-type": "application/json" } });
    },
  });
  const telemetry = {
    OTEL_EXPORTER_OTLP_ENDPOINT: `http://127.0.0.1:${collector.port}`,
    OTEL_BSP_SCHEDULE_DELAY: "200",
  };
  // The API of the tests lives in this process, whose environment it reads; the worker has its own.
  Object.assign(process.env, telemetry);
  stopTelemetry.push(startTelemetry("mocod"));
  service = await startService();
}, 60_000);
afterAll(async () => {
  await service.stop();
  for (const stop of stopTelemetry) await stop();
  delete process.env.OTEL_EXPORTER_OTLP_ENDPOINT;
  collector.stop(true);
});

test("a job is one trace, from the API that accepted it to the worker that took it", async () => {
  const { id } = await service.client.submit("pretrain", service.spec({ epochs: 1 }));
  await service.until(id, ({ status }) => status === "succeeded");
  const added = await eventually(async () => spans.find(({ span }) => span.name.startsWith("add mocod")), 20);
  const taken = await eventually(
    async () => spans.find(({ service: of, span }) => of === "mocod-worker" && span.traceId === added.span.traceId),
    20,
  );
  expect(added.service).toBe("mocod");
  expect(taken.span.name).toContain("mocod");
}, 60_000);

test("the board of the queues is for admins, by a browser's own form too, and changes nothing", async () => {
  const board = `${service.url}/queues`;
  const open = await fetch(`${board}/api/queues`);
  const { queues } = (await open.json()) as { queues: { name: string; readOnlyMode: boolean }[] };
  expect(queues.map(({ name }) => name)).toEqual(["mocod", "mocod-webgpu", "mocod-plans", "mocod-webhooks"]);
  expect(queues.every(({ readOnlyMode }) => readOnlyMode)).toBe(true);
  expect(await (await fetch(board)).text()).toContain("<title>mocod</title>");
  expect((await fetch(`${board}/api/queues/mocod/pause`, { method: "PUT" })).status).toBe(404);

  const keys = new ApiKeys(new LocalBlobs(service.dataDir));
  const [admin, submit] = [await keys.create("a", "admin"), await keys.create("s", "submit")];
  const refused = await eventually(async () => {
    const answer = await fetch(board);
    return answer.status === 401 ? answer : undefined;
  });
  expect(refused.headers.get("www-authenticate")).toBe('Basic realm="mocod"');
  const basic = (token: string) => ({ authorization: `Basic ${btoa(`anyone:${token}`)}` });
  expect((await fetch(board, { headers: basic(submit.token) })).status).toBe(403);
  expect((await fetch(board, { headers: basic(admin.token) })).status).toBe(200);
  expect(
    (await fetch(`${service.url}/v1/webhooks`, { headers: { authorization: `Bearer ${submit.token}` } })).status,
  ).toBe(403);
  // Elsewhere a browser that sends a password by itself would open the door to other pages' requests.
  expect((await fetch(`${service.url}/v1/jobs`, { headers: basic(admin.token) })).status).toBe(401);
  const client = new Client(service.url, admin.token);
  expect((await client.list({})).jobs.length).toBeGreaterThan(0);
  for (const { key } of [admin, submit]) await keys.revoke(key.id);
  await eventually(async () => (await fetch(board)).status === 200);
}, 30_000);

test("measures of a running job, its checkpoints among them", async () => {
  const { id } = await service.client.submit("pretrain", service.spec({ epochs: 3000 }), "measured");
  const text = await eventually(async () => {
    const of = await (await fetch(`${service.url}/metrics`)).text();
    return of.includes("mocod_job_checkpoint_seconds{") ? of : undefined;
  });
  for (const name of ["loss", "images_per_second", "seconds", "checkpoint_seconds"]) {
    const value = Number(text.match(new RegExp(`mocod_job_${name}\\{job="${id}",name="measured"\\} (\\S+)`))?.[1]);
    expect([name, value > 0]).toEqual([name, true]);
  }
  expect(text).toContain('mocod_jobs{status="running"} 1');
  await service.client.cancel(id);
}, 30_000);
