/** A new job: a form from its schema, what it would take, and the same as a command. */
import { useEffect, useMemo, useState } from "preact/hooks";
import type { FieldError, Job } from "../../src/schema/job.ts";
import { merge } from "../../src/schema/merge.ts";
import type { Plan } from "../../src/schema/plan.ts";
import { hasTextTower, type JobType, jobTypes, textJobs } from "../../src/schema/types.ts";
import { StoredDataset } from "./dataset.tsx";
import { bytes, duration, Notice, number, Text, useLive } from "./parts.tsx";
import { SchemaForm, specOf, type Typed } from "./schema_form.tsx";
import { Refused, type Schema, service } from "./service.ts";
import { Upload } from "./upload.tsx";

const PAUSE_MS = 600;
/** An id as a whole: nothing is asked for while one is typed. */
const STORED = /^ds_\w{26}$/;

const isRun = (id: string | undefined): boolean => id !== undefined && /^run_\w{26}$/.test(id);

/** What may be submitted: jobs with texts only on a run whose method has a text tower. */
const typesFor = (run: Job | undefined, chosen: JobType): readonly JobType[] =>
  run && !hasTextTower(run.spec) ? jobTypes.filter((type) => type === chosen || !textJobs.includes(type)) : jobTypes;

/** Defaults that the schema itself tells. */
function defaultsOf(schema: Schema): unknown {
  if (schema.default !== undefined) return schema.default;
  if (!schema.properties) return undefined;
  return Object.fromEntries(Object.entries(schema.properties).map(([name, of]) => [name, defaultsOf(of)]));
}

/** The fields of a pretrain spec of a method, without `method` itself, which is asked for beside the preset. */
function ofMethod(schema: Schema, method: string): Schema {
  const has = ({ properties }: Schema) => {
    const of = properties?.method;
    return of?.const === method || of?.enum?.includes(method);
  };
  const { method: _, ...properties } = (schema.oneOf ?? [schema]).find(has)?.properties ?? {};
  return { type: "object", properties };
}

/** For a shell: in single quotes nothing means anything but a single quote. */
const quoted = (text: string): string => `'${text.replaceAll("'", "'\\''")}'`;

/** `done`: steps that are behind it already. */
function Estimate(props: { spec: object; done: number; heard: (errors: readonly FieldError[]) => void }) {
  const { spec, done, heard } = props;
  const [state, setState] = useState<(Plan & { busy: boolean }) | "asking" | Error>("asking");
  const text = JSON.stringify(spec);
  useEffect(() => {
    let over = false;
    setState("asking");
    const timer = setTimeout(() => {
      service.plan(spec).then(
        (plan) => {
          if (over) return;
          setState(plan);
          heard([]);
        },
        (error: Error) => {
          if (over) return;
          setState(error);
          heard(error instanceof Refused ? error.fields : []);
        },
      );
    }, PAUSE_MS);
    return () => {
      over = true;
      clearTimeout(timer);
    };
  }, [text]);
  if (state === "asking") return <Notice>A worker measures what it would take …</Notice>;
  if (state instanceof Error) {
    const more = state instanceof Refused ? state.fields.map(({ field, allowed }) => `${field}: ${allowed}`) : [];
    return (
      <Notice bad>
        {state.message}
        {more.length > 0 && `: ${more.join("; ")}`}
      </Notice>
    );
  }
  const { time, memory, images, device, threads, warnings, busy } = state;
  const left = Math.max(0, 1 - done / (time.stepsPerEpoch * (spec as { epochs: number }).epochs));
  return (
    <>
      <Notice>
        <strong>
          About {duration(time.total * left)}, {bytes(memory.total)} of memory
        </strong>
        : {images} images, {time.stepsPerEpoch} steps of {number(time.step)} s an epoch, on{" "}
        {device === "wasm" ? `WASM with ${threads} threads` : device}.{done > 0 && ` ${done} steps are done already.`}
        {busy && " The worker was busy meanwhile, and will be faster."}
      </Notice>
      {warnings.map((warning) => (
        <Notice key={warning}>{warning}</Notice>
      ))}
    </>
  );
}

/** `from`: a run that the job works on; `source`: a run that is forked. */
export function New({ query }: { query: URLSearchParams }) {
  const forked = query.get("fork");
  const [type, setType] = useState<JobType>((query.get("type") as JobType | null) ?? "pretrain");
  const [preset, setPreset] = useState("small");
  const [chosen, setMethod] = useState("");
  const [name, setName] = useState("");
  const [step, setStep] = useState("");
  const [keep, setKeep] = useState("state");
  const from = query.get("from");
  const [typed, setTyped] = useState<Typed>(from ? { from } : {});
  const [errors, setErrors] = useState<readonly FieldError[]>([]);
  const [failed, setFailed] = useState("");
  const load = async () => ({
    schema: await service.schema(forked ? "pretrain" : type),
    presets: await service.presets(),
    methods: await service.methods(),
    source: forked ? await service.job(forked) : undefined,
    judged: isRun(typed.from) ? await service.job(typed.from as string).catch(() => undefined) : undefined,
    checkpoints: forked ? await service.checkpoints(forked) : [],
  });
  const { value, error } = useLive(load, 3600, [type, forked, isRun(typed.from) && typed.from]);
  const method = chosen || (value?.methods.default ?? "");
  const base = useMemo((): unknown => {
    if (!value) return {};
    if (value.source) return value.source.spec;
    return type === "pretrain" ? value.presets[preset]?.[method] : defaultsOf(value.schema);
  }, [value, type, preset, method]);
  if (!value) return <main>{error ? <Notice bad>{error.message}</Notice> : <p class="quiet">Loading …</p>}</main>;

  const schema =
    type === "pretrain"
      ? ofMethod(value.schema, (value.source?.spec as { method: string } | undefined)?.method ?? method)
      : value.schema;
  const own = specOf(schema, typed, base);
  const stored = typed["dataset.kind"] === "stored" ? typed["dataset.id"] : undefined;
  const spec = type === "pretrain" && !forked ? { preset, method, ...own } : own;
  const planned = forked ? (merge(base, own) as object) : spec;
  const done = forked && keep === "state" ? Number(step || (value.checkpoints[0]?.step ?? 0)) : 0;
  const named = name ? { name } : {};
  const path = forked ? `/v1/jobs/${forked}/fork` : "/v1/jobs";
  const body = forked ? { ...named, ...(step && { step: Number(step) }), keep, spec } : { type, ...named, spec };
  const curl = [
    `curl ${location.origin}${path} \\`,
    "  -H 'content-type: application/json' \\",
    ...(sessionStorage.getItem("mocod-key") ? ['  -H "authorization: Bearer $MOCOD_API_KEY" \\'] : []),
    `  -d ${quoted(JSON.stringify(body, null, 1))}`,
  ].join("\n");

  const submit = async (event: Event) => {
    event.preventDefault();
    try {
      const job: Job = await (forked ? service.fork(forked, body) : service.submit(body));
      location.hash = `#/runs/${job.id}`;
    } catch (refused) {
      setErrors(refused instanceof Refused ? refused.fields : []);
      const more = refused instanceof Refused ? refused.fields.map(({ field, allowed }) => `${field}: ${allowed}`) : [];
      setFailed([(refused as Error).message, ...more].join("; "));
    }
  };
  const select = (label: string, of: string, values: readonly string[], set: (value: string) => void) => (
    <label>
      {label}
      <select value={of} onChange={(e) => set(e.currentTarget.value)}>
        {values.map((v) => (
          <option key={v}>{v}</option>
        ))}
      </select>
    </label>
  );
  return (
    <main>
      <h1>{forked ? `Fork ${value.source?.name ?? forked}` : "New job"}</h1>
      <form onSubmit={submit}>
        <div class="bar">
          {!forked &&
            select("Type", type, typesFor(value.judged, type), (of) => {
              setErrors([]);
              setTyped(from ? { from } : {});
              setType(of as JobType);
            })}
          {!forked && type === "pretrain" && select("Preset", preset, Object.keys(value.presets), setPreset)}
          {!forked &&
            type === "pretrain" &&
            select(
              "Method",
              method,
              value.methods.methods.map((of) => of.name),
              setMethod,
            )}
          {forked && (
            <label>
              From the checkpoint
              <select value={step} onChange={(e) => setStep(e.currentTarget.value)}>
                <option value="">the newest</option>
                {value.checkpoints.map((record) => (
                  <option key={record.step} value={record.step}>
                    step {record.step}
                  </option>
                ))}
              </select>
            </label>
          )}
          {forked && select("Keep", keep, ["state", "weights"], setKeep)}
          <label>
            Name
            <input type="text" maxLength={200} value={name} onInput={(e) => setName(e.currentTarget.value)} />
          </label>
          <button type="submit">Submit</button>
        </div>
        {failed && <Notice bad>{failed}</Notice>}
        {type === "pretrain" && (
          <div aria-live="polite">
            {"dataset" in planned ? (
              <Estimate spec={planned} done={done} heard={setErrors} />
            ) : (
              <Notice>Choose a dataset below: then a worker measures what the run would take.</Notice>
            )}
          </div>
        )}
        {type === "pretrain" && !forked && (
          <Upload
            uploaded={(id) => setTyped((before) => ({ ...before, "dataset.kind": "stored", "dataset.id": id }))}
          />
        )}
        {stored && STORED.test(stored) && <StoredDataset id={stored} />}
        <SchemaForm
          schema={schema}
          base={base}
          typed={typed}
          errors={errors}
          set={(at, text) => setTyped({ ...typed, [at]: text })}
        />
      </form>
      <h2>The same by hand</h2>
      <Text what="command">{curl}</Text>
    </main>
  );
}
