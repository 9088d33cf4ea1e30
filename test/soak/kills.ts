/**
 * `npm run test:soak`: the worker is killed with SIGKILL at 40 random moments of one run, start-up, checkpointing and
 * shutdown included; the run goes on each time, and its files end as those of a run left in peace. Takes minutes.
 */
import { deepStrictEqual } from "node:assert";
import { startService } from "../service.ts";

const kills = Number(process.argv[2] ?? 40);
const service = await startService();
try {
  const { client, until, files } = service;
  const spec = service.spec({ epochs: 100, encoder: { arch: "resnet18", stem: "cifar", width: 8 } });
  const calm = await client.submit("pretrain", spec);
  const started = performance.now();
  await until(calm.id, (job) => job.status === "succeeded", 3600);
  console.log(`undisturbed: ${((performance.now() - started) / 1000).toFixed(0)} s`);

  const stormy = await client.submit("pretrain", spec);
  let killed = 0;
  while (killed < kills) {
    // The moment is what is drawn: nothing is waited for.
    await Bun.sleep(Math.random() * 6000);
    const { status, progress } = await client.job(stormy.id);
    if (status === "succeeded") break;
    await service.stopWorker("SIGKILL");
    console.log(`kill ${++killed}: ${status}, step ${progress?.step ?? "-"}`);
    service.startWorker();
  }
  await until(stormy.id, (job) => job.status === "succeeded", 3600);
  deepStrictEqual(files(stormy.id), files(calm.id));
  console.log(`${killed} kills: the same bytes`);
} finally {
  await service.stop();
}
