/** Webhooks: signed, repeated until they are received, and never sent to a private address. Plans: made by a worker. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { createHmac } from "node:crypto";
import { createClient, type MocodClient } from "../../api/client.ts";
import { isPublic, targetOf } from "../../src/queue/addresses.ts";
import { deliver } from "../../src/queue/webhooks/deliver.ts";
import { eventually } from "../support/helpers.ts";
import { type Service, startService } from "../support/service.ts";

interface Received {
  id: string;
  timestamp: string;
  signature: string;
  body: string;
}

let service: Service;
let mocod: MocodClient;
let receiver: Bun.Server<undefined>;
const received: Received[] = [];
/** Answers of the receiver, the first one first; then 204. */
const answers: number[] = [];
let elsewhere = 0;

beforeAll(async () => {
  service = await startService({ MOCOD_WEBHOOK_PRIVATE: "1" });
  mocod = createClient(service.url);
  receiver = Bun.serve({
    port: 0,
    hostname: "127.0.0.1",
    async fetch(request) {
      if (new URL(request.url).pathname === "/elsewhere") elsewhere++;
      const header = (name: string) => request.headers.get(`webhook-${name}`) ?? "";
      const body = await request.text();
      received.push({ id: header("id"), timestamp: header("timestamp"), signature: header("signature"), body });
      const headers = { location: "/elsewhere" };
      return new Response(null, { status: answers.shift() ?? 204, headers });
    },
  });
}, 60_000);
afterAll(async () => {
  receiver.stop(true);
  await service.stop();
});

const typesOf = (id: string) =>
  received
    .map(({ body }) => JSON.parse(body))
    .filter(({ data }) => data.id === id)
    .map(({ type }) => type as string);

test("events of a job and of a pipeline are sent signed, repeated after a failure under the same id, and not sent to a deleted hook", async () => {
  const url = `http://127.0.0.1:${receiver.port}/hooks`;
  const events = ["job.running", "job.succeeded", "pipeline.finished"] as const;
  const made = await mocod.v1.webhooks.$post({ json: { url, events: [...events] } });
  if (made.status !== 201) throw new Error(await made.text());
  const { id: hook, secret } = await made.json();
  const listed = await mocod.v1.webhooks.$get();
  expect(await listed.text()).not.toContain(secret);

  answers.push(500);
  const jobs = {
    pretrain: { type: "pretrain" as const, spec: service.spec({ epochs: 1 }) },
    knn: { type: "knn" as const, from: "pretrain", spec: { baselines: false } },
  };
  const submitted = await mocod.v1.pipelines.$post({ json: { name: "sent", jobs }, header: {} });
  if (submitted.status !== 201) throw new Error(await submitted.text());
  const pipeline = await submitted.json();
  const [pretrain] = pipeline.jobs;
  await eventually(async () => typesOf(pipeline.id).length > 0);
  // The first attempt was refused and repeated, so the order differs from that of the events.
  await eventually(async () => typesOf(pretrain?.id as string).length >= 3);
  expect(new Set(typesOf(pretrain?.id as string))).toEqual(new Set(["job.running", "job.succeeded"]));
  const [first] = received;
  const repeated = received.filter(({ id }) => id === first?.id);
  expect([repeated.length, new Set(repeated.map(({ body }) => body)).size]).toEqual([2, 1]);
  expect(new Set(received.map(({ id }) => id)).size).toBe(received.length - 1);
  for (const { id, timestamp, signature, body } of received) {
    // By the specification, not by the library that signs.
    const key = Buffer.from(secret.slice("whsec_".length), "base64");
    const expected = createHmac("sha256", key).update(`${id}.${timestamp}.${body}`).digest("base64");
    expect(signature).toBe(`v1,${expected}`);
    expect(Math.abs(Date.now() / 1000 - Number(timestamp))).toBeLessThan(60);
  }
  const { type, data } = JSON.parse(received.find(({ body }) => body.includes("pipeline.finished"))?.body ?? "");
  expect([type, data.name, data.status, data.counts]).toEqual([
    "pipeline.finished",
    "sent",
    "succeeded",
    { succeeded: 2 },
  ]);

  expect((await mocod.v1.webhooks[":id"].$delete({ param: { id: hook } })).status).toBe(204);
  expect((await mocod.v1.webhooks[":id"].$delete({ param: { id: hook } })).status).toBe(404);
}, 60_000);

test("a redirect is not followed, and is no success", async () => {
  answers.push(302);
  const hook = { url: `http://127.0.0.1:${receiver.port}/`, secret: "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw" };
  await expect(deliver(hook, "msg_1", "{}", true)).rejects.toThrow("answered 302");
  expect(elsewhere).toBe(0);
});

test("private addresses, in whatever disguise, are refused where they are not allowed", async () => {
  for (const address of ["8.8.8.8", "2606:4700::1111"]) expect([address, isPublic(address)]).toEqual([address, true]);
  for (const address of [
    "10.0.0.1",
    "172.16.3.4",
    "192.168.1.1",
    "169.254.169.254",
    "100.64.0.1",
    "0.0.0.0",
    "127.1.2.3",
  ]) {
    expect([address, isPublic(address)]).toEqual([address, false]);
  }
  for (const address of ["::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "fe80::1", "fd00::1", "::", "64:ff9b::7f00:1"]) {
    expect([address, isPublic(address)]).toEqual([address, false]);
  }
  const { port } = receiver;
  const before = received.length;
  for (const host of ["127.0.0.1", "localhost", "2130706433", "0x7f.1", "[::1]", "[::ffff:7f00:1]", "0"]) {
    const url = `http://${host}:${port}/`;
    await expect(targetOf(new URL(url), false, "MOCOD_WEBHOOK_PRIVATE")).rejects.toThrow(/no public address/);
    await expect(deliver({ url, secret: "whsec_AAAA" }, "msg_1", "{}", false)).rejects.toThrow(/no public address/);
  }
  expect(received.length).toBe(before);
  for (const url of ["ftp://example.org/", "http://user:secret@example.org/", "nonsense", "file:///etc/passwd"]) {
    const answer = await mocod.v1.webhooks.$post({ json: { url } });
    expect([url, answer.status as number]).toEqual([url, 422]);
  }
});

test("a plan is measured by a worker, once; what cannot be is refused", async () => {
  const spec = service.spec();
  const ask = (of: object) => mocod.v1.plan.$post({ json: { spec: of as Record<string, unknown> } });
  const answer = await ask(spec);
  if (answer.status !== 200) throw new Error(await answer.text());
  const plan = await answer.json();
  expect([plan.images, plan.time.stepsPerEpoch, plan.device, plan.busy]).toEqual([240, 15, "wasm", false]);
  expect(plan.time.total).toBeGreaterThan(4 * 15 * plan.time.step);
  expect(plan.memory.total).toBeGreaterThan(plan.memory.state + plan.memory.program);
  expect((await service.client.workers()).map(({ id }) => id)).toContain(plan.worker);
  const again = await ask(spec);
  expect(again.status === 200 && (await again.json())).toEqual(plan);
  const large = await ask({ ...spec, batchSize: 512, queueSize: 512 });
  expect([large.status as number, await large.text()]).toEqual([422, expect.stringContaining("leaves 240 images")]);
  const bad = await ask({ ...spec, temperature: 0 });
  expect(bad.status as number).toBe(422);
}, 60_000);
