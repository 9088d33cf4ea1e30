/**
 * `npm run test:soak [-- --faults 200 --jobs 24 --seed 1 --minutes 60]`: random faults over many jobs on two workers. Each
 * job ends `succeeded`, each run in the bytes of one that was left in peace, a study in the same report, and a dataset
 * whose import the API does not survive is whole. The seed gives the same faults in the same
 * order. `npm test` runs it for a minute and a half.
 */
import { readdirSync } from "node:fs";
import { parseArgs } from "node:util";
import type { Job } from "../../src/schema/job.ts";
import { checkStore } from "../../src/store/check.ts";
import { LocalBlobs } from "../../src/store/local_blobs.ts";
import { Stream } from "../../src/util/random.ts";
import { eventually } from "../support/helpers.ts";
import { startCluster } from "./cluster.ts";
import { faults } from "./faults.ts";
import { differences, filesOf, lines, outcomeOf } from "./left.ts";
import { interruptedImport, reportOf, serveDataset, studyOf, wrongImport } from "./work.ts";

export interface StormOptions {
  faults: number;
  jobs: number;
  seed: number;
  minutes: number;
  /** Seconds between two faults, at most. */
  peace?: number;
  /** Of the log of all processes. */
  logFile: string;
  say: (line: string) => void;
}

export interface StormReport {
  injected: Record<string, number>;
  jobs: number;
  /** What is not as it should be; empty is what we want. */
  wrong: string[];
  seconds: number;
}

/** Asks until the API answers: it may be dead, or the store full, and nothing was accepted then. */
const insist = <T>(ask: () => Promise<T>): Promise<T> =>
  eventually(async () => {
    try {
      return await ask();
    } catch {
      return undefined; // the storm: the next try tells
    }
  }, 120);

export async function storm(options: StormOptions): Promise<StormReport> {
  const { seed, say, peace = 6 } = options;
  const startedAt = performance.now();
  const draws = new Stream(seed, "probe");
  const draw = () => draws.uniform();
  const cluster = await startCluster(options.logFile, { MOCOD_IMPORT_PRIVATE: "1" });
  const served = serveDataset();
  const injected: Record<string, number> = Object.fromEntries(Object.keys(faults).map((name) => [name, 0]));
  const wrong: string[] = [];
  try {
    const { client } = cluster;
    // In peace, one run of each kind.
    const kinds = [{}, { symmetric: true, epochs: 8 }, { optimizer: { algorithm: "lars", lr: 0.3 } }].map(cluster.spec);
    const calm = await Promise.all(kinds.map((spec) => client.submit("pretrain", spec)));
    const succeeded = (id: string, seconds: number) =>
      eventually(async () => {
        const job = await insist(() => client.job(id));
        if (job.status === "failed") throw new Error(`${id} failed: ${job.error}`);
        return job.status === "succeeded" && job;
      }, seconds);
    const evaluations: { type: "linear-probe" | "fine-tune"; spec: object }[] = [
      { type: "linear-probe", spec: { from: calm[0]?.id, protocol: "paper", epochs: 40, lr: 1, baselines: false } },
      { type: "fine-tune", spec: { from: calm[0]?.id, epochs: 12, batchSize: 32, baselines: false } },
    ];
    const submitAll = () => Promise.all(evaluations.map(({ type, spec }) => insist(() => client.submit(type, spec))));
    const judging = await submitAll();
    const calmStudy = (await client.runStudy({ spec: studyOf(cluster) })).id;
    for (const { id } of calm) await succeeded(id, 600);
    const expected = calm.map(({ id }) => filesOf(cluster, id));
    const judged = await Promise.all(judging.map(({ id }) => succeeded(id, 600)));
    const verdicts = judged.map((job) => outcomeOf(cluster, job));
    const studied = (id: string, seconds: number) =>
      eventually(async () => (await insist(() => client.pipeline(id))).finishedAt !== null, seconds);
    await studied(calmStudy, 600);
    const calmReport = await reportOf(cluster, calmStudy);
    say(
      `${kinds.length} runs and ${judged.length} jobs on an encoder in peace: ${Math.round((performance.now() - startedAt) / 1000)} s`,
    );

    // First, so that faults meet them.
    const stormyStudy = (await client.runStudy({ spec: studyOf(cluster) })).id;
    const imported = await interruptedImport(cluster, served);
    const stormy = await submitAll();
    const runs: { id: string; kind: number }[] = [];
    const others: string[] = [];
    for (let i = 0; i < options.jobs; i++) {
      const kind = i % kinds.length;
      const { id } = await insist(() => client.submit("pretrain", kinds[kind]));
      runs.push({ id, kind });
      if (i % 4 === 0) others.push((await insist(() => client.submit("linear-probe", { from: id, epochs: 2 }))).id);
    }

    const names = Object.keys(faults);
    const deadline = startedAt + options.minutes * 60_000;
    let count = 0;
    let deck: string[] = [];
    while (count < options.faults && performance.now() < deadline) {
      await Bun.sleep(draw() * peace * 1000);
      // Each kind once before any comes again, in an order of its own.
      if (deck.length === 0) deck = [...draws.permutation(names.length)].map((i) => names[i] as string);
      const name = deck.pop() as string;
      const hit = await faults[name]?.(cluster, draw).catch((error: Error) => {
        // The API may be dead or Redis away when a fault looks for its victim.
        if (/SIGTERM/.test(error.message)) wrong.push(error.message);
        return false;
      });
      if (!hit) continue;
      injected[name] = (injected[name] as number) + 1;
      count++;
      if (count % 10 === 0) {
        const jobs = await insist(async () => Promise.all(runs.map(({ id }) => client.job(id))));
        const done = jobs.filter(({ status }) => status === "succeeded").length;
        say(
          `${count} faults, ${done} of ${jobs.length} runs done, ${Math.round((performance.now() - startedAt) / 1000)} s`,
        );
        // A storm over finished jobs proves nothing: the next ones come.
        if (done === jobs.length) {
          for (let kind = 0; kind < kinds.length; kind++) {
            const { id } = await insist(() => client.submit("pretrain", kinds[kind]));
            runs.push({ id, kind });
          }
        }
      }
    }
    say(`the storm is over after ${count} faults; ${runs.length + others.length + stormy.length} jobs`);

    const outcome = async (id: string): Promise<Job | undefined> => {
      try {
        return await succeeded(id, 900);
      } catch (error) {
        wrong.push(`${id}: ${(error as Error).message}`);
        return undefined;
      }
    };
    for (const { id, kind } of runs) {
      if (!(await outcome(id))) continue;
      const files = filesOf(cluster, id);
      for (const problem of [...differences(files, expected[kind] as Map<string, Buffer>), ...lines(files)]) {
        wrong.push(`${id}: ${problem}`);
      }
    }
    for (const id of others) await outcome(id);
    for (const [i, { id, type }] of stormy.entries()) {
      const job = await outcome(id);
      const resumed = (await insist(() => client.logs(id))).filter(({ message }) => message.startsWith("resuming"));
      say(`the ${type} was resumed ${resumed.length} times`);
      if (job && !Bun.deepEquals(outcomeOf(cluster, job), verdicts[i])) wrong.push(`${id}: the ${type} differs`);
    }
    await studied(stormyStudy, 900);
    if (!Bun.deepEquals(await reportOf(cluster, stormyStudy), calmReport))
      wrong.push(`${stormyStudy}: the report differs`);
    wrong.push(...(await wrongImport(cluster, imported, served)));
    const report = await checkStore(new LocalBlobs(cluster.storePath));
    for (const { run, file, problem } of report.damaged) wrong.push(`${run}/${file}: ${problem}`);
    const leftovers = readdirSync(cluster.storePath, { recursive: true }).filter((name) =>
      String(name).endsWith(".tmp"),
    );
    for (const name of leftovers) wrong.push(`left over: ${String(name)}`);
    await eventually(async () => cluster.orphans().length === 0, 20).catch(() => {
      for (const pid of cluster.orphans()) wrong.push(`orphan process ${pid}`);
    });
    return {
      injected,
      jobs: runs.length + others.length + stormy.length,
      wrong,
      seconds: (performance.now() - startedAt) / 1000,
    };
  } finally {
    served.stop();
    await cluster.stop();
  }
}

if (import.meta.main) {
  const { values } = parseArgs({
    options: {
      faults: { type: "string", default: "200" },
      jobs: { type: "string", default: "24" },
      seed: { type: "string", default: "1" },
      minutes: { type: "string", default: "55" },
      log: { type: "string", default: "/tmp/mocod-storm.log" },
    },
  });
  const report = await storm({
    faults: Number(values.faults),
    jobs: Number(values.jobs),
    seed: Number(values.seed),
    minutes: Number(values.minutes),
    logFile: values.log,
    say: (line) => console.log(line),
  });
  for (const [name, count] of Object.entries(report.injected)) console.log(`  ${String(count).padStart(4)}  ${name}`);
  const total = Object.values(report.injected).reduce((a, b) => a + b, 0);
  console.log(`${total} faults, ${report.jobs} jobs, ${Math.round(report.seconds)} s, seed ${values.seed}`);
  for (const problem of report.wrong) console.log(`WRONG ${problem}`);
  console.log(
    report.wrong.length === 0 ? "every job succeeded, every byte as in peace" : `${report.wrong.length} wrong`,
  );
  process.exit(report.wrong.length === 0 ? 0 : 1);
}
