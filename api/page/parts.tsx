/** Small parts, and how numbers are said. */
import type { ComponentChildren } from "preact";
import { useEffect, useState } from "preact/hooks";
import type { Job, JobStatus } from "../../src/schema/job.ts";
import { type ActionName, actions, type Moves } from "../../src/schema/life.ts";

export const percent = (share: number | null | undefined): string =>
  share === null || share === undefined ? "–" : `${(100 * share).toFixed(1)}%`;

export const number = (value: number | null | undefined, digits = 3): string =>
  value === null || value === undefined ? "–" : Number(value.toPrecision(digits)).toString();

export function duration(seconds: number | null | undefined): string {
  if (seconds === null || seconds === undefined) return "–";
  if (seconds < 60) return `${Math.round(seconds)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${Math.round(seconds % 60)} s`;
  const hours = Math.floor(seconds / 3600);
  return hours < 48
    ? `${hours} h ${Math.round((seconds % 3600) / 60)} min`
    : `${Math.floor(hours / 24)} d ${hours % 24} h`;
}

export const when = (iso: string | null): string => (iso ? new Date(iso).toLocaleString() : "–");

export const bytes = (count: number): string =>
  count < 1e6
    ? `${(count / 1e3).toFixed(0)} kB`
    : count < 1e9
      ? `${(count / 1e6).toFixed(1)} MB`
      : `${(count / 1e9).toFixed(2)} GB`;

/** Of a pipeline's jobs: "3 succeeded, 1 running". */
export const countsText = (counts: Partial<Record<JobStatus, number>>): string =>
  Object.entries(counts)
    .map(([status, count]) => `${count} ${status}`)
    .join(", ");

export const Status = ({ job }: { job: Job }) => <span class={`status ${job.status}`}>{job.status}</span>;

export function Done({ job }: { job: Job }) {
  const { progress } = job;
  if (!progress) return <span class="quiet">–</span>;
  const share = progress.step / progress.steps;
  return (
    <>
      <progress value={share} max={1} aria-label={`progress of ${job.name ?? job.id}`} /> {Math.floor(100 * share)}%
    </>
  );
}

/** The shape of a curve; its words are for who cannot see it. */
export function Spark({ values, what }: { values: readonly number[]; what: string }) {
  if (values.length < 2) return <span class="quiet">–</span>;
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const path = values
    .map((v, i) => `${i ? "L" : "M"}${(90 * i) / (values.length - 1)} ${21 - (20 * (v - low)) / (high - low || 1)}`)
    .join("");
  const [first, last] = [values[0], values.at(-1)].map((v) => number(v));
  return (
    <svg class="spark" viewBox="0 0 90 22" role="img" aria-label={`${what} from ${first} to ${last}`}>
      <path d={path} />
    </svg>
  );
}

export const Notice = ({ bad, children }: { bad?: boolean; children: ComponentChildren }) => (
  <p class={`notice ${bad ? "bad" : ""}`} role={bad ? "alert" : "status"}>
    {children}
  </p>
);

/** Text that scrolls, and so must be reachable by keyboard. */
export const Text = ({ what, children }: { what: string; children: ComponentChildren }) => (
  // biome-ignore lint/a11y/noNoninteractiveTabindex: see above
  <section class="text" tabIndex={0} aria-label={what}>
    <pre>{children}</pre>
  </section>
);

interface TableProps {
  readonly what: string;
  readonly caption?: string;
  readonly head: readonly string[];
  /** Columns that a phone has no room for. */
  readonly optional?: readonly string[];
  /** Rows. */
  readonly children: ComponentChildren;
}

export const Table = ({ what, caption, head, optional = [], children }: TableProps) => (
  // biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls must be reachable by keyboard
  <section class="scroll" tabIndex={0} aria-label={what}>
    <table>
      {caption && <caption>{caption}</caption>}
      <thead>
        <tr>
          {head.map((name) => (
            <th key={name} scope="col" class={optional.includes(name) ? "optional" : undefined}>
              {name}
            </th>
          ))}
        </tr>
      </thead>
      <tbody>{children}</tbody>
    </table>
  </section>
);

interface PagerProps {
  /** Cursors of the pages before this one. */
  readonly pages: readonly string[];
  /** Of the page behind this one, if there is any. */
  readonly next: string | null | undefined;
  readonly set: (pages: string[]) => void;
}

export const Pager = ({ pages, next, set }: PagerProps) => (
  <div class="bar">
    <button type="button" disabled={pages.length === 0} onClick={() => set(pages.slice(0, -1))}>
      Newer
    </button>
    <button type="button" disabled={!next} onClick={() => next && set([...pages, next])}>
      Older
    </button>
  </div>
);

interface ActionButtonsProps {
  readonly possible: (moves: Moves) => boolean;
  readonly ask: (name: ActionName) => void;
}

/** Only what would change something now. */
export const ActionButtons = ({ possible, ask }: ActionButtonsProps) => (
  <>
    {(Object.keys(actions) as ActionName[])
      .filter((name) => possible(actions[name].moves))
      .map((name) => (
        <button key={name} type="button" onClick={() => ask(name)}>
          {name[0]?.toUpperCase()}
          {name.slice(1)}
        </button>
      ))}
  </>
);

/** Loads again and again, `seconds` after the last answer. What fails is shown by whoever uses it; the last value stays. */
export function useLive<T>(load: () => Promise<T>, seconds: number, keys: unknown[]): { value?: T; error?: Error } {
  const [state, setState] = useState<{ value?: T; error?: Error }>({});
  useEffect(() => {
    let over = false;
    let timer: ReturnType<typeof setTimeout>;
    const round = async () => {
      try {
        const value = await load();
        if (!over) setState({ value });
      } catch (error) {
        if (!over) setState(({ value }) => ({ ...(value !== undefined && { value }), error: error as Error }));
      }
      if (!over) timer = setTimeout(round, seconds * 1000);
    };
    void round();
    return () => {
      over = true;
      clearTimeout(timer);
    };
    // The keys say when to load anew, as for useEffect itself.
  }, keys);
  return state;
}
