/** Downloads of files of a run: whole, in ranges (RFC 9110), or not at all where the client has them. */
import type { Context } from "hono";
import type { Manifest } from "../src/store/manifest.ts";
import type { RunStore } from "../src/store/run_store.ts";
import { problem } from "./problem.ts";

/** Finds the recorded SHA-256 of a file; undefined where there is none. */
async function recordedSum(run: RunStore, name: string): Promise<string | undefined> {
  const checkpoint = name.match(/^checkpoints\/(.+\.safetensors)$/)?.[1];
  if (checkpoint) return (await run.checkpoints()).find(({ file }) => file === checkpoint)?.sha256;
  return (await run.readJson<Manifest>("manifest.json"))?.files[name]?.sha256;
}

/**
 * Parses `bytes=from-to`, `bytes=from-` or `bytes=-last`.
 *
 * @returns Both ends inclusive; undefined: the whole file; null: the file has no such bytes.
 */
function rangeOf(header: string | undefined, size: number): { from: number; to: number } | undefined | null {
  const [, first = "", last = ""] = header?.match(/^bytes=(\d*)-(\d*)$/) ?? [];
  if (first === "" && last === "") return undefined; // none, or one that may be ignored (RFC 9110, 14.2)
  const from = first === "" ? Math.max(0, size - Number(last)) : Number(first);
  const to = first === "" || last === "" ? size - 1 : Math.min(size - 1, Number(last));
  return from <= to && from < size ? { from, to } : null;
}

/** Answers a request for a file of a run. */
export async function download(c: Context, run: RunStore, name: string): Promise<Response> {
  // Only names that the run lists, so that no path leads out of its folder.
  const file = (await run.names()).includes(name) ? await run.open(name) : undefined;
  if (!file) return problem(c, 404, `run ${run.id} has no file ${name}`);
  const sum = await recordedSum(run, name);
  const headers: Record<string, string> = {
    "content-type": "application/octet-stream",
    "content-disposition": `attachment; filename="${name.slice(name.lastIndexOf("/") + 1)}"`,
    "accept-ranges": "bytes",
    ...(sum && { etag: `"${sum}"` }),
  };
  if (sum && c.req.header("if-none-match")?.includes(`"${sum}"`)) return c.body(null, 304, headers);
  const condition = c.req.header("if-range");
  const wanted = condition === undefined || condition === headers.etag ? c.req.header("range") : undefined;
  const range = rangeOf(wanted, file.size);
  if (range === null) {
    const response = problem(c, 416, `the file has ${file.size} bytes`);
    response.headers.set("content-range", `bytes */${file.size}`);
    return response;
  }
  if (range === undefined) return new Response(file.body, { headers });
  const { from, to } = range;
  const partial = { ...headers, "content-range": `bytes ${from}-${to}/${file.size}` };
  return new Response(file.body.slice(from, to + 1), { status: 206, headers: partial });
}
