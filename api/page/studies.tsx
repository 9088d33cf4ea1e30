/** Studies: those that are committed, with a button for each scale, and their runs; one run with its report. */
import { useState } from "preact/hooks";
import { jobStatuses, type Moves } from "../../src/schema/life.ts";
import { ActionButtons, bytes, countsText, Notice, Pager, Table, useLive, when } from "./parts.tsx";
import { type CommittedStudy, type StudyRun, service } from "./service.ts";
import { Report } from "./study_report.tsx";

function Committed({ study, run }: { study: CommittedStudy; run: (scale: string) => void }) {
  const [scale, setScale] = useState(study.scales[0]?.scale ?? "");
  const chosen = study.scales.find((of) => of.scale === scale);
  return (
    <section aria-label={study.title}>
      <h2>{study.title}</h2>
      <p>{study.question}</p>
      <p class="quiet">{study.paper}</p>
      <div class="bar">
        <label>
          Scale
          <select value={scale} onChange={(event) => setScale(event.currentTarget.value)}>
            {study.scales.map((of) => (
              <option key={of.scale}>{of.scale}</option>
            ))}
          </select>
        </label>
        <button type="button" aria-label={`Run ${chosen?.jobs} jobs of ${study.title}`} onClick={() => run(scale)}>
          Run {chosen?.jobs} jobs
        </button>
      </div>
      <p class="quiet">{chosen?.about}</p>
    </section>
  );
}

export function Studies() {
  const [pages, setPages] = useState<string[]>([]);
  const [said, setSaid] = useState<{ bad: boolean; text: string } | undefined>();
  const { value, error } = useLive(() => service.studies(pages.at(-1)), 3, [pages.length]);
  const run = (name: string) => (scale: string) => {
    setSaid({ bad: false, text: `A worker plans ${name}; it starts when its jobs fit into memory.` });
    service.runStudy(name, scale).then(
      ({ id }) => {
        location.hash = `#/studies/${id}`;
      },
      (failed: Error) => setSaid({ bad: true, text: failed.message }),
    );
  };
  return (
    <main>
      <h1>Studies</h1>
      {error && <Notice bad>{error.message}</Notice>}
      {said && <Notice bad={said.bad}>{said.text}</Notice>}
      {value && value.runs.length > 0 && (
        <Table what="runs of studies" head={["Study", "Scale", "Status", "Jobs", "Created"]}>
          {value.runs.map((of) => (
            <tr key={of.id}>
              <td>
                <a href={`#/studies/${of.id}`}>{of.title}</a>
              </td>
              <td>{of.scale}</td>
              <td>
                <span class={`status ${of.status}`}>{of.status}</span>
              </td>
              <td>{countsText(of.counts)}</td>
              <td>{when(of.createdAt)}</td>
            </tr>
          ))}
        </Table>
      )}
      {value && (value.next !== null || pages.length > 0) && <Pager pages={pages} next={value.next} set={setPages} />}
      {value?.studies.map((study) => (
        <Committed key={study.name} study={study} run={run(study.name)} />
      ))}
    </main>
  );
}

function plannedText({ plannedMemory, unplanned }: StudyRun): string {
  return plannedMemory === null ? `not planned: ${unplanned}` : `planned: at most ${bytes(plannedMemory)} a run`;
}

export function StudyView({ id }: { id: string }) {
  const [asked, setAsked] = useState(0);
  const [failed, setFailed] = useState("");
  const load = async () => ({ run: await service.study(id), report: await service.studyReport(id) });
  const { value, error } = useLive(load, 5, [id, asked]);
  if (!value) return <main>{error ? <Notice bad>{error.message}</Notice> : <p class="quiet">Loading …</p>}</main>;
  const { run, report } = value;
  const possible = (moves: Moves) => jobStatuses.some((status) => run.counts[status] && status in moves);
  const said = (work: Promise<unknown>) =>
    work.then(
      () => setAsked(asked + 1),
      (of: Error) => setFailed(of.message),
    );
  const save = (format: string) => service.save(`/v1/studies/${id}/report?format=${format}`, `${id}.${format}`);
  return (
    <main>
      <h1>{report.title}</h1>
      <p>
        <span class={`status ${run.status}`}>{run.status}</span> {countsText(run.counts)} ·{" "}
        <a href={`#/pipelines/${id}`}>its pipeline</a> · {plannedText(run)}
      </p>
      {(failed || error) && <Notice bad>{failed || error?.message}</Notice>}
      <div class="bar">
        <ActionButtons possible={possible} ask={(name) => said(service.actOnPipeline(id, name))} />
        <button type="button" onClick={() => said(save("html"))}>
          Report as HTML
        </button>
        <button type="button" onClick={() => said(save("md"))}>
          Report as Markdown
        </button>
      </div>
      <Report report={report} />
    </main>
  );
}
