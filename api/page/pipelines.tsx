/** Pipelines: all of them, and one with its table of results. */
import { useState } from "preact/hooks";
import { jobStatuses, type Moves } from "../../src/schema/life.ts";
import type { ReportRow } from "../../src/schema/report.ts";
import { ActionButtons, countsText, Notice, number, Pager, percent, Table, useLive, when } from "./parts.tsx";
import { service } from "./service.ts";

export function Pipelines() {
  const [pages, setPages] = useState<string[]>([]);
  const { value, error } = useLive(() => service.pipelines(pages.at(-1)), 3, [pages.length]);
  return (
    <main>
      <h1>Pipelines</h1>
      {error && <Notice bad>{error.message}</Notice>}
      <Table what="pipelines" head={["Name", "Status", "Jobs", "Created"]}>
        {value?.pipelines.map((pipeline) => (
          <tr key={pipeline.id}>
            <td>
              <a href={`#/pipelines/${pipeline.id}`}>{pipeline.name ?? pipeline.id}</a>
            </td>
            <td>
              <span class={`status ${pipeline.status}`}>{pipeline.status}</span>
            </td>
            <td>{countsText(pipeline.counts)}</td>
            <td>{when(pipeline.createdAt)}</td>
          </tr>
        ))}
      </Table>
      {value?.pipelines.length === 0 && (
        <p class="quiet">
          None yet: <code>mocod sweep</code> or <code>POST /v1/pipelines</code> makes one.
        </p>
      )}
      <Pager pages={pages} next={value?.next} set={setPages} />
    </main>
  );
}

function Results({ rows }: { rows: readonly ReportRow[] }) {
  const names = [...new Set(rows.flatMap(({ figures }) => Object.keys(figures)))];
  const fields = [...new Set(rows.flatMap(({ params }) => Object.keys(params)))];
  const told = (row: ReportRow, name: string) => {
    const figure = row.figures[name];
    if (!figure) return <span class="quiet">–</span>;
    const say = (value: number) => (name === "loss" ? number(value, 4) : percent(value));
    return (
      <>
        {say(figure.mean)} {figure.std !== null && <span class="quiet">± {say(figure.std)}</span>}
      </>
    );
  };
  return (
    <Table
      what="results"
      caption="Means over the seeds ± their sample standard deviation"
      head={["Job", ...fields, ...names, "Seeds", "Failed", "Open"]}
    >
      {rows.map((row) => (
        <tr key={row.ids[0]}>
          <th scope="row">{row.job}</th>
          {fields.map((field) => (
            <td key={field}>{field in row.params ? JSON.stringify(row.params[field]) : ""}</td>
          ))}
          {names.map((name) => (
            <td key={name}>{told(row, name)}</td>
          ))}
          <td>{row.succeeded}</td>
          <td>{row.failed || ""}</td>
          <td>{row.unfinished || ""}</td>
        </tr>
      ))}
    </Table>
  );
}

export function PipelineView({ id }: { id: string }) {
  const [asked, setAsked] = useState(0);
  const [failed, setFailed] = useState("");
  const { value: pipeline, error } = useLive(() => service.pipeline(id), 3, [id, asked]);
  if (!pipeline) return <main>{error ? <Notice bad>{error.message}</Notice> : <p class="quiet">Loading …</p>}</main>;
  const possible = (moves: Moves) => jobStatuses.some((status) => pipeline.counts[status] && status in moves);
  const said = (work: Promise<unknown>) =>
    work.then(
      () => setAsked(asked + 1),
      (of: Error) => setFailed(of.message),
    );
  return (
    <main>
      <h1>{pipeline.name ?? pipeline.id}</h1>
      <p class="quiet">
        {pipeline.id} · created {when(pipeline.createdAt)}
      </p>
      <p>
        <span class={`status ${pipeline.status}`}>{pipeline.status}</span> {countsText(pipeline.counts)}
      </p>
      {failed && <Notice bad>{failed}</Notice>}
      <div class="bar">
        <ActionButtons possible={possible} ask={(name) => said(service.actOnPipeline(id, name))} />
        <button
          type="button"
          onClick={() => said(service.save(`/v1/pipelines/${id}/results?format=csv`, `${id}-results.csv`))}
        >
          Table as CSV
        </button>
      </div>
      <h2>Results</h2>
      <Results rows={pipeline.results} />
      <h2>Jobs</h2>
      <Table what="jobs" head={["Job", "At", "Seed", "Status"]}>
        {pipeline.jobs.map((job) => (
          <tr key={job.id}>
            <td>
              <a href={`#/runs/${job.id}`}>{job.node}</a>
            </td>
            <td>
              {Object.entries(job.params)
                .map(([field, value]) => `${field} ${JSON.stringify(value)}`)
                .join(", ")}
            </td>
            <td>{job.seed ?? ""}</td>
            <td>
              <span class={`status ${job.status}`}>{job.status}</span> {job.error}
            </td>
          </tr>
        ))}
      </Table>
    </main>
  );
}
