/** Requests made from the OpenAPI document, right ones and broken ones: never a 5xx, never a hang, always an answer that says what is wrong. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { request } from "node:http";
import { connect as connectSocket } from "node:net";
import fc from "fast-check";
import { type Service, startService } from "../support/service.ts";

let service: Service;
let known: string;
beforeAll(async () => {
  service = await startService();
  // Nobody takes the jobs that are accepted by chance.
  await service.stopWorker("SIGTERM");
  known = await submit();
}, 60_000);
afterAll(() => service.stop());
const submit = async (): Promise<string> => (await service.client.submit("pretrain", service.spec())).id;

interface Document {
  paths: Record<string, Record<string, { parameters?: { name: string; in: string }[]; requestBody?: object }>>;
}

/** A JSON value, now and then with names that mean something to a program. */
const nasty = fc.constantFrom("__proto__", "constructor", "toString", "length", "", "\u0000", "../..", "%00", "'\"<>");
const value = fc.letrec((tie) => ({
  any: fc.oneof(
    { maxDepth: 4 },
    fc.constantFrom(null, true, -1, 0, 1e308, -0, 2 ** 53, 1e-320),
    fc.string(),
    nasty,
    fc.array(tie("any"), { maxLength: 4 }),
    fc.dictionary(fc.oneof(fc.string({ maxLength: 8 }), nasty), tie("any"), { maxKeys: 4 }),
  ),
})).any;

/** A right submission. */
const whole = () => ({ type: "pretrain", name: "x", priority: 1, metadata: { a: "b" }, spec: service.spec() });

/** One with some of its fields replaced, removed or added. */
const mutated = () =>
  fc
    .array(
      fc.record({
        path: fc.array(
          fc.constantFrom("type", "spec", "dataset", "encoder", "epochs", "monitor", "metadata", "x", "path"),
          {
            minLength: 1,
            maxLength: 4,
          },
        ),
        to: fc.option(value, { nil: undefined }),
      }),
      { maxLength: 4 },
    )
    .map((changes) => {
      const body: Record<string, unknown> = whole();
      for (const { path, to } of changes) {
        let at = body;
        for (const name of path.slice(0, -1)) {
          if (typeof at[name] !== "object" || at[name] === null) at[name] = {};
          at = at[name] as Record<string, unknown>;
        }
        if (to === undefined) delete at[path.at(-1) as string];
        else at[path.at(-1) as string] = to;
      }
      return body;
    });

async function expectAnswer(method: string, path: string, init: RequestInit = {}): Promise<number> {
  const response = await fetch(service.url + path, { method, ...init, signal: AbortSignal.timeout(10_000) });
  const text = await response.text();
  const what = `${method} ${path} ${String(init.body).slice(0, 300)}: ${response.status} ${text.slice(0, 300)}`;
  if (response.status >= 500) throw new Error(what);
  if (response.status >= 400) {
    if (response.headers.get("content-type") !== "application/problem+json")
      throw new Error(`no problem+json: ${what}`);
    const { title, status } = JSON.parse(text) as { title: string; status: number };
    if (!title || status !== response.status) throw new Error(`says nothing: ${what}`);
  }
  return response.status;
}

test("thousands of requests to every operation of the document", async () => {
  const { paths } = (await (await fetch(`${service.url}/openapi.json`)).json()) as Document;
  const operations = Object.entries(paths).flatMap(([path, methods]) =>
    Object.entries(methods)
      // A stream of a job that is not over does not end; events have tests of their own.
      .filter(() => !path.endsWith("/events"))
      .map(([method, { parameters = [], requestBody }]) => ({
        path,
        method: method.toUpperCase(),
        parameters,
        requestBody,
      })),
  );
  const seen = new Map<number, number>();
  const text = fc.oneof(fc.string(), nasty, fc.constant(known), fc.webPath(), fc.integer().map(String));
  const body = fc.oneof(
    fc.constant(JSON.stringify(whole())),
    mutated().map((b) => JSON.stringify(b)),
    value.map((v) => JSON.stringify(v) ?? ""),
    fc.string(),
  );
  await fc.assert(
    fc.asyncProperty(
      fc.constantFrom(...operations),
      fc.array(text, { minLength: 8, maxLength: 8 }),
      body,
      fc.boolean(),
      fc.constantFrom("application/json", "application/json; charset=utf-8", "text/plain", "application/xml", ""),
      async ({ path, method, parameters, requestBody }, values, sent, right, type) => {
        let next = 0;
        const drawn = () => values[next++ % values.length] as string;
        const of = (name: string) => (right && name === "id" ? known : encodeURIComponent(drawn()));
        // An empty segment, or dots, would be another path.
        const filled = path.replace(/\{(\w+)\}/g, (_, name: string) => of(name).replace(/^\.*$/, "x"));
        const query = parameters
          .filter((p) => p.in === "query")
          .filter(() => drawn().length % 2 === 0)
          .map(({ name }) => `${name}=${encodeURIComponent(drawn())}`);
        const init = requestBody ? { body: sent, headers: { "content-type": right ? "application/json" : type } } : {};
        const status = await expectAnswer(method, `${filled}${query.length > 0 ? `?${query.join("&")}` : ""}`, init);
        seen.set(status, (seen.get(status) ?? 0) + 1);
        // The job was deleted: of one that is not there nothing can be learnt but 404.
        if (status === 204 && filled.endsWith(known)) known = await submit();
      },
    ),
    { numRuns: 3000 },
  );
  // It reached the inside: accepted, refused by a schema, not found, in conflict.
  for (const status of [200, 201, 204, 404, 409, 422]) expect(seen.get(status) ?? 0).toBeGreaterThan(0);
}, 120_000);

describe("by hand", () => {
  /** Bytes as they are on a connection; the answer's first line. */
  const raw = (bytes: string): Promise<string> =>
    new Promise((resolve, reject) => {
      const { hostname, port } = new URL(service.url);
      const socket = connectSocket(Number(port), hostname);
      let answer = "";
      socket.on("data", (chunk) => {
        answer += chunk;
      });
      socket.on("close", () => resolve(answer));
      socket.on("error", reject);
      socket.setTimeout(15_000, () => socket.destroy());
      socket.end(bytes);
    });

  test("two lengths, a length and chunks, a broken chunk: one answer at most, and the second request is nobody's", async () => {
    const { id } = await service.client.submit("pretrain", service.spec());
    await service.client.cancel(id);
    const smuggled = `DELETE /v1/jobs/${id} HTTP/1.1\r\nhost: a\r\n\r\n`;
    for (const head of [
      `content-length: 5\r\ncontent-length: ${smuggled.length}`,
      "content-length: 6\r\ntransfer-encoding: chunked",
      "transfer-encoding: chunked, identity",
    ]) {
      const answer = await raw(`POST /v1/jobs HTTP/1.1\r\nhost: a\r\n${head}\r\n\r\n0\r\n\r\n${smuggled}`);
      expect(answer).not.toContain(" 204 ");
      expect(answer).not.toContain(" 500 ");
      expect((await service.client.job(id)).status).toBe("cancelled");
    }
  }, 60_000);

  test("a body that trickles in holds nobody else up", async () => {
    const { hostname, port } = new URL(service.url);
    const headers = { "content-type": "application/json", "content-length": "1000" };
    const slow = request({ hostname, port, path: "/v1/jobs", method: "POST", headers });
    slow.on("error", () => undefined); // it is destroyed below
    slow.write('{"type":');
    const started = performance.now();
    await Promise.all(Array.from({ length: 50 }, () => expectAnswer("GET", "/v1/jobs")));
    expect(performance.now() - started).toBeLessThan(5000);
    slow.destroy();
  });

  test("patterns that make a naive regular expression slow", async () => {
    const started = performance.now();
    for (const text of [
      "a".repeat(50_000),
      `${"a.".repeat(20_000)}!`,
      `metadata[${"[".repeat(5000)}`,
      "-".repeat(50_000),
    ]) {
      await expectAnswer("GET", `/v1/jobs/${known}/files/${encodeURIComponent(text.slice(0, 4000))}`);
      const query = encodeURIComponent(text.slice(0, 1200));
      await expectAnswer("GET", `/v1/jobs?after=${query}&name=${query}`);
      await expectAnswer("GET", "/v1/jobs", { headers: { authorization: `Bearer ${text.slice(0, 4000)}` } });
    }
    expect(performance.now() - started).toBeLessThan(10_000);
  }, 30_000);
});
