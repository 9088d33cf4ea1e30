/** Pipelines: all of them, and one with its table of results. */
import { useState } from "preact/hooks";
import { type ActionName, actions, jobStatuses } from "../../src/spec/life.ts";
import type { ReportRow } from "../../src/spec/report.ts";
import { Notice, number, percent, useLive, when } from "./parts.tsx";
import { type Pipeline, service } from "./service.ts";

const countsOf = ({ counts }: Pipeline): string =>
  Object.entries(counts)
    .map(([status, count]) => `${count} ${status}`)
    .join(", ");

export function Pipelines() {
  const [pages, setPages] = useState<string[]>([]);
  const { value, error } = useLive(() => service.pipelines(pages.at(-1)), 3, [pages.length]);
  return (
    <main>
      <h1>Pipelines</h1>
      {error && <Notice bad>{error.message}</Notice>}
      {/* What scrolls must be reachable by keyboard. */}
      <section class="scroll" tabindex={0} aria-label="pipelines">
        <table>
          <thead>
            <tr>
              <th scope="col">Name</th>
              <th scope="col">Status</th>
              <th scope="col">Jobs</th>
              <th scope="col">Created</th>
            </tr>
          </thead>
          <tbody>
            {value?.pipelines.map((pipeline) => (
              <tr key={pipeline.id}>
                <td>
                  <a href={`#/pipelines/${pipeline.id}`}>{pipeline.name ?? pipeline.id}</a>
                </td>
                <td>
                  <span class={`status ${pipeline.status}`}>{pipeline.status}</span>
                </td>
                <td>{countsOf(pipeline)}</td>
                <td>{when(pipeline.createdAt)}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </section>
      {value?.pipelines.length === 0 && (
        <p class="quiet">
          None yet: <code>mocod sweep</code> or <code>POST /v1/pipelines</code> makes one.
        </p>
      )}
      <div class="bar">
        <button type="button" disabled={pages.length === 0} onClick={() => setPages(pages.slice(0, -1))}>
          Newer
        </button>
        <button type="button" disabled={!value?.next} onClick={() => value?.next && setPages([...pages, value.next])}>
          Older
        </button>
      </div>
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
    // biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls must be reachable by keyboard
    <section class="scroll" tabIndex={0} aria-label="results">
      <table>
        <caption>Means over the seeds ± their sample standard deviation</caption>
        <thead>
          <tr>
            {["Job", ...fields, ...names, "Seeds", "Failed", "Open"].map((head) => (
              <th key={head} scope="col">
                {head}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
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
        </tbody>
      </table>
    </section>
  );
}

export function PipelineView({ id }: { id: string }) {
  const [asked, setAsked] = useState(0);
  const [failed, setFailed] = useState("");
  const { value: pipeline, error } = useLive(() => service.pipeline(id), 3, [id, asked]);
  if (!pipeline) return <main>{error ? <Notice bad>{error.message}</Notice> : <p class="quiet">Loading …</p>}</main>;
  const possible = (Object.keys(actions) as ActionName[]).filter((name) =>
    jobStatuses.some((status) => pipeline.counts[status] && status in actions[name].moves),
  );
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
        <span class={`status ${pipeline.status}`}>{pipeline.status}</span> {countsOf(pipeline)}
      </p>
      {failed && <Notice bad>{failed}</Notice>}
      <div class="bar">
        {possible.map((name) => (
          <button key={name} type="button" onClick={() => said(service.actOnPipeline(id, name))}>
            {name[0]?.toUpperCase()}
            {name.slice(1)}
          </button>
        ))}
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
      {/* What scrolls must be reachable by keyboard. */}
      <section class="scroll" tabindex={0} aria-label="jobs">
        <table>
          <thead>
            <tr>
              <th scope="col">Job</th>
              <th scope="col">At</th>
              <th scope="col">Seed</th>
              <th scope="col">Status</th>
            </tr>
          </thead>
          <tbody>
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
          </tbody>
        </table>
      </section>
    </main>
  );
}
