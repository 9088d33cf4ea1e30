/** How the parts of a report are worded, in HTML, in Markdown and on the page alike. */
import { shown, titled, type Unit } from "../schema/study/units.ts";
import { FEW_SEEDS } from "./claims.ts";
import type { Cell, ReportClaim, ReportFailure, ReportRow, Standing, StudyReport } from "./types.ts";

export const cellText = ({ mean, deviation }: Cell, unit: Unit): string =>
  deviation === null ? shown(mean, unit) : `${shown(mean, unit)} ± ${shown(deviation, unit)}`;

/** Every seed's value. */
export const seedsText = ({ values, seeds }: Pick<Cell, "values" | "seeds">, unit: Unit): string =>
  values.map((value, i) => `${seeds[i] === null ? "" : `seed ${seeds[i]}: `}${shown(value, unit)}`).join(", ");

export function signed(value: number, unit: Unit): string {
  const text = shown(value, unit);
  return `${Number(text) > 0 ? "+" : ""}${text}`;
}

const standings: Record<Standing, string> = {
  agrees: "agrees",
  disagrees: "disagrees",
  undecided: "undecided: the interval contains 0",
  open: "open: no interval",
};

export function claimText({ difference, interval, unit, few, seeds }: ReportClaim): string {
  if (difference === null) return "not measured: no seed has both figures";
  const range = interval ? ` [${interval.map((value) => signed(value, unit)).join(", ")}]` : "";
  return `${signed(difference, unit)}${range}, ${seeds.length} ${seeds.length === 1 ? "seed" : "seeds"}${few ? ` (fewer than ${["", "one", "two", "three"][FEW_SEEDS]} seeds)` : ""}`;
}

export const standingText = ({ standing, difference }: ReportClaim): string =>
  difference === null ? "open" : standings[standing];

export const paperText = ({ paper, unit }: ReportClaim): string => (paper === null ? "–" : signed(paper, unit));

export const claimTitle = ({ better, than, column }: ReportClaim): string =>
  `${better} better than ${than} in ${column}`;

export const pointText = (point: ReportFailure["point"]): string =>
  Object.entries(point)
    .map(([field, value]) => `${field} ${JSON.stringify(value)}`)
    .join(", ");

export function failureText({ job, point, seed, status, error }: ReportFailure): string {
  const where = [pointText(point), ...(seed === null ? [] : [`seed ${seed}`])].filter(Boolean).join(", ");
  return `${job}${where && ` at ${where}`}: ${status}${error ? `: ${error}` : ""}`;
}

/** Names of the columns, each with one for the paper beside it where the paper has figures. */
export const tableHead = (report: Pick<StudyReport, "columns" | "rows">): string[] =>
  report.columns.flatMap(({ name, unit }, i) => [titled(name, unit), ...(hasPaper(report, i) ? ["paper"] : [])]);

/** Whether the table has the paper's figures beside a column. */
export const hasPaper = ({ rows }: Pick<StudyReport, "rows">, column: number): boolean =>
  rows.some(({ paper }) => (paper[column] ?? null) !== null);

export const rowTitle = ({ name, planned }: Pick<ReportRow, "name" | "planned">): string =>
  planned ? `${name} (planned, not run)` : name;

export const TABLE_NOTE =
  "Mean ± sample standard deviation over the seeds; the paper's figures are of its own setting.";
export const CLAIM_HEAD = [
  "Claim",
  "The paper says",
  "Difference in the paper",
  "Difference here",
  "Standing",
] as const;
export const CLAIM_NOTE =
  "Mean of the differences of runs with the same seed, positive where the claim holds, with its 95% interval by Student's t.";

/** Figures of a run that are not the same when it is repeated, by name. */
export function runFacts({ run, command }: StudyReport): [name: string, value: string][] {
  return [
    ["Command", command],
    ["Run", run.id],
    ["Created", run.createdAt],
    ["Finished", run.finishedAt ?? "not yet"],
    ["Time of the jobs", `${run.hours.toFixed(2)} h`],
    ["Devices", run.devices.join("; ") || "none yet"],
    ["Machines", run.machines.join("; ") || "none yet"],
    ["mocod", run.versions.join(", ") || "none yet"],
  ];
}
