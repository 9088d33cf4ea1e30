/** One job: how it does, what it left, what can be asked of it. */
import { useEffect, useState } from "preact/hooks";
import type { Job, Progress } from "../../src/spec/job.ts";
import { type ActionName, actions } from "../../src/spec/life.ts";
import { bytes, Done, duration, Notice, number, percent, Status, Text, useLive, when } from "./parts.tsx";
import { type Curve, Plot } from "./plot.tsx";
import { type Line, listen, service } from "./service.ts";

/** `spread.effectiveRank` of a line. */
const valueAt = (line: Line, path: string): number | null => {
  const value = path
    .split(".")
    .reduce<unknown>((v, key) => (v as Record<string, unknown> | null | undefined)?.[key], line);
  return typeof value === "number" ? value : null;
};

const curve = (lines: readonly Line[], path: string, name = path): Curve => ({
  name,
  points: lines.map((line) => [line.epoch, valueAt(line, path)] as const).filter(([, y]) => y !== null),
});

function Plots({ id, live }: { id: string; live: boolean }) {
  const load = async () => ({ steps: await service.steps(id, 500), metrics: await service.metrics(id) });
  const { value } = useLive(load, live ? 5 : 3600, [id, live]);
  if (!value || value.metrics.length === 0) return <p class="quiet">Curves appear with the end of the first epoch.</p>;
  const { steps, metrics } = value;
  const ofSteps = (name: string): Curve => ({
    name,
    points: steps.map((line) => [line.step, line[name] as number] as const),
  });
  return (
    <div class="plots">
      <Plot title="Loss" x="step" curves={[ofSteps("loss")]} />
      <Plot title="kNN top-1 of held-out images" x="epoch" curves={[curve(metrics, "knn")]} />
      <Plot
        title="Cosine with the positive and the negative keys"
        x="step"
        curves={[ofSteps("positive"), ofSteps("negative")]}
      />
      <Plot title="Accuracy of finding the key among all" x="step" curves={[ofSteps("top1")]} />
      <Plot title="Learning rate" x="step" curves={[ofSteps("lr")]} />
      <Plot title="Effective rank of projections" x="epoch" curves={[curve(metrics, "spread.effectiveRank", "rank")]} />
    </div>
  );
}

function Checkpoints({ id, step }: { id: string; step: number | undefined }) {
  const { value = [], error } = useLive(() => service.checkpoints(id), 10, [id, step === undefined]);
  const [failed, setFailed] = useState("");
  if (value.length === 0) return <p class="quiet">None yet.</p>;
  return (
    <>
      {(error || failed) && <Notice bad>{error?.message ?? failed}</Notice>}
      <div class="scroll">
        <table>
          <thead>
            <tr>
              <th scope="col">Step</th>
              <th scope="col">Epoch</th>
              <th scope="col">kNN</th>
              <th scope="col">Size</th>
              <th scope="col">File</th>
            </tr>
          </thead>
          <tbody>
            {value.map((record) => (
              <tr key={record.step}>
                <td>{record.step}</td>
                <td>{record.epoch ?? "in between"}</td>
                <td>{percent(record.knn)}</td>
                <td>{bytes(record.bytes)}</td>
                <td>
                  <button
                    type="button"
                    aria-label={`download the checkpoint of step ${record.step}`}
                    onClick={() =>
                      service.download(id, `checkpoints/${record.file}`).catch((e: Error) => setFailed(e.message))
                    }
                  >
                    Download
                  </button>
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </>
  );
}

function Logs({ id, version }: { id: string; version: number }) {
  const { value = [] } = useLive(() => service.logs(id), 3600, [id, version]);
  return (
    <Text what="log">
      {value.map(({ at, event, message }) => `${new Date(at).toLocaleTimeString()}  ${event.padEnd(8)}  ${message}\n`)}
    </Text>
  );
}

/** Only what would change something now. */
function Actions({ job, done }: { job: Job; done: (job: Job) => void }) {
  const [failed, setFailed] = useState("");
  const possible = (Object.keys(actions) as ActionName[]).filter((name) => job.status in actions[name].moves);
  const ask = (name: ActionName) => () =>
    service.act(job.id, name).then(
      (changed) => {
        setFailed("");
        done(changed);
      },
      (error: Error) => setFailed(error.message),
    );
  return (
    <div class="bar">
      {possible.map((name) => (
        <button key={name} type="button" onClick={ask(name)}>
          {name[0]?.toUpperCase()}
          {name.slice(1)}
        </button>
      ))}
      {failed && <Notice bad>{failed}</Notice>}
    </div>
  );
}

export function Run({ id }: { id: string }) {
  const [heard, setHeard] = useState<{ progress?: Progress; events: number }>({ events: 0 });
  const [asked, setAsked] = useState(0);
  const { value: loaded, error } = useLive(() => service.job(id), 10, [id, heard.events, asked]);
  const over = loaded !== undefined && loaded.finishedAt !== null;
  useEffect(() => {
    const stop = new AbortController();
    setHeard({ events: 0 });
    void listen(
      id,
      (event) =>
        setHeard(({ progress, events }) =>
          event.type === "progress" ? { progress: event.data, events } : { progress, events: events + 1 },
        ),
      stop.signal,
    );
    return () => stop.abort();
    // A job that is retried or extended has events again.
  }, [id, over]);
  if (!loaded) return <main>{error ? <Notice bad>{error.message}</Notice> : <p class="quiet">Loading …</p>}</main>;
  const job: Job = { ...loaded, progress: over ? loaded.progress : (heard.progress ?? loaded.progress) };
  const { progress } = job;
  return (
    <main>
      <h1>{job.name ?? job.id}</h1>
      <p class="quiet">
        {job.type} · {job.id} · created {when(job.createdAt)}
        {job.forked &&
          ` · forked from ${job.forked.from.id} after step ${job.forked.from.step}, its ${job.forked.keep}`}
      </p>
      <p>
        <Status job={job} /> <Done job={job} />{" "}
        {progress && (
          <span>
            epoch {progress.epoch} of {progress.epochs}, step {progress.step} of {progress.steps}, loss{" "}
            {number(progress.loss, 4)}, {number(progress.imagesPerSecond)} images/s
            {job.status === "running" && `, ${duration(progress.eta)} left`}
          </span>
        )}
      </p>
      {job.waitingFor && <Notice>Waits for {job.waitingFor}.</Notice>}
      {job.error && <Notice bad>{job.error}</Notice>}
      {progress?.verdict && (
        <Notice>
          <strong>{progress.verdict.state}</strong>: {progress.verdict.message}
        </Notice>
      )}
      <Actions job={job} done={() => setAsked(asked + 1)} />
      {job.type === "pretrain" && (
        <>
          <h2>Curves</h2>
          <Plots id={id} live={!over} />
          <h2>Checkpoints</h2>
          <Checkpoints id={id} step={progress?.step} />
        </>
      )}
      {job.result !== null && (
        <>
          <h2>Result</h2>
          <Text what="result">{JSON.stringify(job.result, null, 2)}</Text>
        </>
      )}
      {job.warnings.length > 0 && (
        <>
          <h2>Warnings</h2>
          <ul>
            {job.warnings.map((warning) => (
              <li key={warning}>{warning}</li>
            ))}
          </ul>
        </>
      )}
      <h2>Log</h2>
      <Logs id={id} version={heard.events} />
      <h2>Spec</h2>
      <Text what="spec">{JSON.stringify(job.spec, null, 2)}</Text>
    </main>
  );
}
