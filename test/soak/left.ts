/** What a run or a job has left, and how it differs from what one left in peace has. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { Job } from "../../src/schema/job.ts";
import { sha256 } from "../../src/store/files.ts";
import type { Cluster } from "./cluster.ts";

/** Names and bytes of what a run leaves that must not depend on what happened to it. */
export function filesOf({ storePath }: Cluster, id: string): Map<string, Buffer> {
  const folder = join(storePath, "runs", id);
  const names = ["metrics.jsonl"];
  for (const part of ["checkpoints", "steps"]) {
    for (const name of readdirSync(join(folder, part)).sort()) names.push(join(part, name));
  }
  return new Map(names.map((name) => [name, readFileSync(join(folder, name))]));
}

export function differences(got: Map<string, Buffer>, expected: Map<string, Buffer>): string[] {
  const names = new Set([...got.keys(), ...expected.keys()]);
  return [...names].flatMap((name) => {
    const [a, b] = [got.get(name), expected.get(name)];
    if (a === undefined) return [`${name} is missing`];
    if (b === undefined) return [`${name} is left over`];
    return a.equals(b) ? [] : [`${name} differs`];
  });
}

/** The result of a job on an encoder, without what depends on who computed it, and the files that it leaves. */
export function outcomeOf(cluster: Cluster, job: Job): unknown {
  const { seconds, threads, ...result } = job.result as Record<string, unknown>;
  const folder = join(cluster.storePath, "runs", job.id);
  const names = readdirSync(folder, { recursive: true }).map(String);
  const outputs = names.filter((name) => !/^(\.|(job|result|manifest)\.json$|history)/.test(name)).sort();
  return { result, files: outputs.map((name) => [name, sha256(readFileSync(join(folder, name)))]) };
}

/** Each epoch once in metrics.jsonl, each step once in steps/. */
export function lines(files: Map<string, Buffer>): string[] {
  const read = (name: string) =>
    (files.get(name) ?? "")
      .toString()
      .split("\n")
      .filter(Boolean)
      .map((line) => JSON.parse(line) as { epoch: number; step: number });
  const epochs = read("metrics.jsonl").map(({ epoch }) => epoch);
  const steps = [...files.keys()].filter((name) => name.startsWith("steps/")).flatMap(read);
  const inOrder = (numbers: number[], from: number) => numbers.every((n, i) => n === from + i);
  return [
    ...(inOrder(epochs, 0) ? [] : [`epochs of metrics.jsonl: ${epochs.join()}`]),
    ...(inOrder(
      steps.map(({ step }) => step),
      1,
    )
      ? []
      : ["steps are lost or doubled"]),
  ];
}
