/** Commands that show the jobs of a running service, and download their files. */
import { mkdirSync, renameSync } from "node:fs";
import { dirname, join, resolve, sep } from "node:path";
import type { Job } from "../src/schema/job.ts";
import { UserError } from "../src/util/errors.ts";
import { progressBar } from "./bar.ts";
import type { Client } from "./client.ts";
import { printJson } from "./json.ts";

function lineOf({ id, type, status, name, progress, waitingFor }: Job): string {
  const done = progress ? `${Math.floor((100 * progress.step) / progress.steps)}%`.padStart(4) : "    ";
  return [id.padEnd(30), type.padEnd(12), status.padEnd(10), done, name ?? "", waitingFor ? `(${waitingFor})` : ""]
    .join("  ")
    .trimEnd();
}

interface ListOptions {
  status?: string;
  type?: string;
  name?: string;
  pipeline?: string;
  limit: string;
  json?: boolean;
}

export async function listJobs(client: Client, { json, ...query }: ListOptions): Promise<void> {
  const given = Object.entries(query).filter(
    ([key, value]) => value && ["status", "type", "name", "pipeline", "limit"].includes(key),
  );
  const { jobs } = await client.list(Object.fromEntries(given) as Record<string, string>);
  if (json) printJson(jobs);
  else for (const job of jobs) console.log(lineOf(job));
}

export async function showLogs(client: Client, id: string, options: { json?: boolean }): Promise<void> {
  const lines = await client.logs(id);
  if (options.json) printJson(lines);
  else for (const { at, event, message } of lines) console.log(`${at}  ${event.padEnd(8)}  ${message}`);
}

export async function listWorkers(client: Client, options: { json?: boolean }): Promise<void> {
  const workers = await client.workers();
  if (options.json) return printJson(workers);
  for (const { id, device, threads, version, job } of workers) {
    console.log(`${id}  ${threads} threads  mocod ${version}  ${job ?? "idle"}  ${device}`);
  }
}

/** Follows a job to its end and prints its result. Exits with 1 where it does not succeed. */
export async function watchJob(client: Client, id: string): Promise<void> {
  const bar = progressBar();
  const job = await client.follow(id, (p) => bar.update(p));
  bar.stop();
  printJson({ status: job.status, error: job.error, result: job.result });
  if (job.status !== "succeeded") process.exitCode = 1;
}

/** Prints the images of a retrieval job that are nearest to a sentence. */
export async function searchImages(
  client: Client,
  id: string,
  sentence: string,
  { count, json }: { count: string; json?: boolean },
): Promise<void> {
  const images = await client.search(id, sentence, Number(count));
  if (json) return printJson({ images });
  for (const { image, cosine, texts } of images) {
    console.log(`${cosine.toFixed(3).padStart(6)}  ${String(image).padStart(7)}  ${texts.join(" | ")}`);
  }
}

/** Downloads files into `out`. Each is renamed to its name when it is complete. */
export async function pull(
  client: Client,
  id: string,
  wanted: string[],
  options: { out?: string; json?: boolean },
): Promise<void> {
  const out = options.out ?? id;
  const available = await client.files(id);
  const unknown = wanted.filter((name) => !available.includes(name));
  if (unknown.length > 0) throw new UserError(`run ${id} has no ${unknown.join(", ")}; it has ${available.join(", ")}`);
  const root = resolve(out);
  const files: string[] = [];
  for (const name of wanted.length > 0 ? wanted : available) {
    const file = join(root, name);
    // The names come from a server that is not necessarily trustworthy.
    if (!file.startsWith(root + sep)) throw new UserError(`the server named a file outside of ${out}: ${name}`);
    mkdirSync(dirname(file), { recursive: true });
    await Bun.write(`${file}.part`, await client.download(id, name));
    renameSync(`${file}.part`, file);
    files.push(file);
    if (!options.json) console.log(file);
  }
  if (options.json) printJson({ files });
}
