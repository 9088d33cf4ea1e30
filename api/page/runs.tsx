/** All jobs: find them, watch them, lay their curves over each other. */
import { useEffect, useState } from "preact/hooks";
import type { Job } from "../../src/schema/job.ts";
import { finalStatuses, jobStatuses } from "../../src/schema/life.ts";
import { jobTypes } from "../../src/schema/types.ts";
import { Done, duration, Notice, number, Pager, percent, Spark, Status, Table, useLive, when } from "./parts.tsx";
import { type Curve, Plot } from "./plot.tsx";
import { service } from "./service.ts";

/** Losses of runs; those of finished ones never change. */
const losses = new Map<string, number[]>();

function useLosses(jobs: readonly Job[]): Map<string, number[]> {
  const [, setCount] = useState(0);
  const wanted = jobs
    .filter(({ type, progress }) => type === "pretrain" && progress)
    .map(({ id, status }) => `${id} ${status}`);
  useEffect(() => {
    for (const job of jobs) {
      if (job.type !== "pretrain" || !job.progress) continue;
      if (losses.has(job.id) && finalStatuses.includes(job.status)) continue;
      service.steps(job.id, 45).then(
        (lines) => {
          losses.set(
            job.id,
            lines.map(({ loss }) => loss),
          );
          setCount((count) => count + 1);
        },
        () => losses.set(job.id, []), // deleted meanwhile: the next list does not have it
      );
    }
    // Only which jobs there are, and how they stand.
  }, [wanted.join()]);
  return losses;
}

function Compare({ ids, jobs }: { ids: readonly string[]; jobs: readonly Job[] }) {
  const { value: curves = [], error } = useLive(
    () =>
      Promise.all(
        ids.map(async (id): Promise<Curve> => {
          const name = jobs.find((job) => job.id === id)?.name ?? id.slice(-6);
          return { name, points: (await service.steps(id, 400)).map(({ step, loss }) => [step, loss] as const) };
        }),
      ),
    10,
    [ids.join()],
  );
  return (
    <section aria-label="comparison">
      {error && <Notice bad>{error.message}</Notice>}
      <Plot title={`Loss of ${ids.length} runs`} x="step" curves={curves} />
    </section>
  );
}

const optional = ["kNN", "Left", "Device", "Created"];

export function Runs() {
  const [filter, setFilter] = useState<Record<string, string>>({});
  const [pages, setPages] = useState<string[]>([]);
  const [chosen, setChosen] = useState<readonly string[]>([]);
  const after = pages.at(-1);
  const query = { limit: "50", ...filter, ...(after !== undefined && { after }) };
  const { value, error } = useLive(() => service.jobs(query), 2, [JSON.stringify(query)]);
  const { value: workers = [] } = useLive(service.workers, 5, []);
  const jobs = value?.jobs ?? [];
  const curves = useLosses(jobs);
  const set = (name: string) => (event: Event) => {
    const text = (event.currentTarget as HTMLInputElement | HTMLSelectElement).value;
    const { [name]: _, ...rest } = filter;
    setPages([]);
    setFilter(text ? { ...rest, [name]: text } : rest);
  };
  const choose = (id: string) => () =>
    setChosen(chosen.includes(id) ? chosen.filter((other) => other !== id) : [...chosen, id]);
  const select = (label: string, name: string, values: readonly string[]) => (
    <label>
      {label}
      <select onChange={set(name)}>
        <option value="">all</option>
        {values.map((of) => (
          <option key={of}>{of}</option>
        ))}
      </select>
    </label>
  );
  return (
    <main>
      <h1>Runs</h1>
      <div class="bar">
        {select("Status", "status", jobStatuses)}
        {select("Type", "type", jobTypes)}
        <label>
          Name contains
          <input type="search" onInput={set("name")} />
        </label>
        <span class="quiet">
          {workers.length === 0
            ? "no worker is running"
            : `${workers.length} worker${workers.length === 1 ? "" : "s"}, ${workers.filter(({ job }) => job).length} busy`}
        </span>
      </div>
      {error && <Notice bad>{error.message}</Notice>}
      {chosen.length > 0 && <Compare ids={chosen} jobs={jobs} />}
      <Table what="jobs" head={["Compare", "Name", "Status", "Progress", "Loss", ...optional]} optional={optional}>
        {jobs.map((job) => (
          <tr key={job.id}>
            <td>
              <input
                type="checkbox"
                aria-label={`compare ${job.name ?? job.id}`}
                checked={chosen.includes(job.id)}
                disabled={job.type !== "pretrain"}
                onChange={choose(job.id)}
              />
            </td>
            <td>
              <a href={`#/runs/${job.id}`}>{job.name ?? job.id}</a> <span class="quiet">{job.type}</span>
            </td>
            <td>
              <Status job={job} /> {job.position !== null && <span class="quiet">{job.position} in the queue</span>}{" "}
              {job.waitingFor && <span class="quiet">for {job.waitingFor}</span>}
            </td>
            <td>
              <Done job={job} />
            </td>
            <td>
              {(curves.get(job.id)?.length ?? 0) > 1 ? (
                <Spark values={curves.get(job.id) as number[]} what="loss" />
              ) : (
                number(job.progress?.loss)
              )}
            </td>
            <td class="optional">{percent(job.progress?.knn)}</td>
            <td class="optional">{job.status === "running" ? duration(job.progress?.eta) : "–"}</td>
            <td class="optional">{workers.find((worker) => worker.job === job.id)?.device.split(":")[0] ?? "–"}</td>
            <td class="optional">{when(job.createdAt)}</td>
          </tr>
        ))}
      </Table>
      {value && jobs.length === 0 && <p class="quiet">No jobs here yet.</p>}
      <Pager pages={pages} next={value?.next} set={setPages} />
    </main>
  );
}
