/** One job: how it does, what it left, what can be asked of it. */
import { useEffect, useState } from "preact/hooks";
import { fromPreset } from "../../src/schema/difference.ts";
import type { Job, JobSpecs, Progress } from "../../src/schema/job.ts";
import type { ActionName } from "../../src/schema/life.ts";
import { Confusion } from "./confusion.tsx";
import { Curves } from "./curves.tsx";
import { Learned, MapView } from "./learned.tsx";
import {
  ActionButtons,
  bytes,
  Done,
  duration,
  Notice,
  number,
  percent,
  Status,
  Text,
  useLive,
  when,
} from "./parts.tsx";
import { RetrievalView } from "./retrieval.tsx";
import { listen, service } from "./service.ts";
import { type ZeroShot, ZeroShotView } from "./zero_shot.tsx";

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

function Actions({ job, done }: { job: Job; done: (job: Job) => void }) {
  const [failed, setFailed] = useState("");
  const ask = (name: ActionName) =>
    service.act(job.id, name).then(
      (changed) => {
        setFailed("");
        done(changed);
      },
      (error: Error) => setFailed(error.message),
    );
  return (
    <div class="bar">
      <ActionButtons possible={(moves) => job.status in moves} ask={ask} />
      {job.type === "pretrain" && (
        <a class="button" href={`#/new?fork=${job.id}`}>
          Fork
        </a>
      )}
      {failed && <Notice bad>{failed}</Notice>}
    </div>
  );
}

/** A pretraining spec by what it does not have of its preset; any other as it is. */
function Spec({ job }: { job: Job }) {
  const { preset, differences } =
    job.type === "pretrain" ? fromPreset(job.spec as JobSpecs["pretrain"]) : { preset: null, differences: [] };
  return (
    <>
      <h2>Spec</h2>
      {preset && differences.length === 0 && <p>As the preset {preset}.</p>}
      {preset && differences.length > 0 && (
        <div class="scroll">
          <table>
            <caption>
              Preset {preset}, but for {differences.length} fields
            </caption>
            <thead>
              <tr>
                <th scope="col">Field</th>
                <th scope="col">Here</th>
                <th scope="col">In the preset</th>
              </tr>
            </thead>
            <tbody>
              {differences.map(({ field, value, preset: was }) => (
                <tr key={field}>
                  <th scope="row">{field}</th>
                  <td>{JSON.stringify(value)}</td>
                  <td class="quiet">{JSON.stringify(was) ?? "–"}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
      <Text what="spec">{JSON.stringify(job.spec, null, 2)}</Text>
    </>
  );
}

interface Scored {
  top1: number;
  top5: number;
  knn?: number;
  step: number;
  confusion: number[][];
  classes: string[];
  baselines: Record<string, { top1: number } | null> | null;
}

const All = ({ result }: { result: unknown }) => (
  <details>
    <summary>All of it</summary>
    <Text what="result">{JSON.stringify(result, null, 2)}</Text>
  </details>
);

function Result({ job }: { job: Job }) {
  const result = job.result as Partial<Scored> | null;
  if (result === null) return null;
  if (job.type === "map") return <MapView job={job} />;
  if (job.type === "retrieval" || job.type === "zero-shot") {
    return (
      <>
        <h2>Result</h2>
        {job.type === "retrieval" ? <RetrievalView job={job} /> : <ZeroShotView result={job.result as ZeroShot} />}
        <All result={result} />
      </>
    );
  }
  if (!result.confusion || !result.classes) {
    return (
      <>
        <h2>Result</h2>
        <Text what="result">{JSON.stringify(result, null, 2)}</Text>
      </>
    );
  }
  const scores: [string, number | undefined][] = [
    ["this encoder", result.top1],
    ...Object.entries(result.baselines ?? {}).map(([name, score]): [string, number | undefined] => [name, score?.top1]),
  ];
  return (
    <>
      <h2>Result</h2>
      <p>
        Top-1 {percent(result.top1)}, top-5 {percent(result.top5)} of the encoder after step {result.step}; beside it{" "}
        {scores
          .slice(1)
          .map(([name, score]) => `${name} ${percent(score)}`)
          .join(", ") || "no baselines"}
        .
      </p>
      <Confusion confusion={result.confusion} classes={result.classes} />
      <All result={result} />
    </>
  );
}

/** Points of the pace that are kept: of a long run every second one goes when there are more. */
const PACE_POINTS = 1000;

interface Heard {
  progress?: Progress;
  events: number;
  pace: readonly (readonly [step: number, imagesPerSecond: number])[];
}

function hearProgress({ events, pace }: Heard, progress: Progress): Heard {
  const { step, imagesPerSecond } = progress;
  if (imagesPerSecond === null || step <= (pace.at(-1)?.[0] ?? -1)) return { progress, events, pace };
  const kept = pace.length < PACE_POINTS ? pace : pace.filter((_, i) => i % 2 === 0);
  return { progress, events, pace: [...kept, [step, imagesPerSecond]] };
}

export function Run({ id }: { id: string }) {
  const [heard, setHeard] = useState<Heard>({ events: 0, pace: [] });
  const [asked, setAsked] = useState(0);
  const { value: loaded, error } = useLive(() => service.job(id), 10, [id, heard.events, asked]);
  const over = loaded !== undefined && loaded.finishedAt !== null;
  useEffect(() => {
    const stop = new AbortController();
    setHeard({ events: 0, pace: [] });
    void listen(
      id,
      (event) =>
        setHeard((before) =>
          event.type === "progress" ? hearProgress(before, event.data) : { ...before, events: before.events + 1 },
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
        {job.pipeline && (
          <>
            {" "}
            · part of <a href={`#/pipelines/${job.pipeline.id}`}>a pipeline</a>, as {job.pipeline.job}
          </>
        )}
        {"from" in job.spec && (
          <>
            {" "}
            · works on <a href={`#/runs/${job.spec.from}`}>{job.spec.from}</a>
          </>
        )}
        {job.forked &&
          ` · forked from ${job.forked.from.id} after step ${job.forked.from.step}, its ${job.forked.keep}`}
      </p>
      <p>
        <Status job={job} /> <Done job={job} />{" "}
        {progress && (
          <span>
            {progress.epochs > 0 && `epoch ${progress.epoch} of ${progress.epochs}, `}
            {job.type === "pretrain" ? "step" : "image"} {progress.step} of {progress.steps},{" "}
            {progress.loss !== null && `loss ${number(progress.loss, 4)}, `}
            {number(progress.imagesPerSecond)} images/s
            {job.status === "running" && `, ${duration(progress.eta)} left`}
          </span>
        )}
      </p>
      {job.position !== null && <Notice>Place {job.position} in the queue.</Notice>}
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
          <Curves id={id} method={(job.spec as { method: string }).method} live={!over} pace={heard.pace} />
          <h2>Checkpoints</h2>
          <Checkpoints id={id} step={progress?.step} />
        </>
      )}
      {job.type === "pretrain" && job.status === "succeeded" && <Learned run={job} />}
      <Result job={job} />
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
      <Spec job={job} />
    </main>
  );
}
