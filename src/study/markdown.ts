/** A report as Markdown, to be put into other documents. */
import { shown } from "../schema/study/units.ts";
import type { ReportColumn, ReportPlot, StudyReport } from "./types.ts";
import * as words from "./words.ts";

const plain = (text: string): string => text.replace(/[|\\`*_<>[\]]/g, (char) => `\\${char}`).replace(/\s+/g, " ");
const line = (cells: readonly string[]): string => `| ${cells.join(" | ")} |`;
const table = (head: readonly string[], rows: readonly (readonly string[])[]): string =>
  [line(head), `|${head.map(() => "---").join("|")}|`, ...rows.map(line)].join("\n");

/** `GET …/report?format=html` draws them; here they are tables. */
function plotTable({ title, x, y, unit, series }: ReportPlot): string {
  const xs = [...new Set(series.flatMap(({ points }) => points.map(([at]) => at)))].sort((a, b) => a - b);
  const at = series.map(({ points }) => new Map(points));
  const rows = xs.map((value) => [
    String(value),
    ...at.map((of) => {
      const found = of.get(value);
      return found === undefined ? "" : shown(found, unit);
    }),
  ]);
  const head = [plain(x), ...series.map(({ name }) => plain(name))];
  return `### ${plain(title)}\n\n${plain(y)} by ${plain(x)}, means over the seeds\n\n${table(head, rows)}`;
}

function mainTable(report: StudyReport): string {
  const lines = report.rows.map(({ cells, paper, ...row }) => [
    plain(words.rowTitle(row)),
    ...report.columns.flatMap(({ unit }: ReportColumn, i) => {
      const [found, theirs] = [cells[i] ?? null, paper[i] ?? null];
      const every = found && found.values.length > 1 ? ` (${found.values.map((v) => shown(v, unit)).join(", ")})` : "";
      const beside = words.hasPaper(report, i) ? [theirs === null ? "–" : shown(theirs, unit)] : [];
      return [found ? words.cellText(found, unit) + every : "–", ...beside];
    }),
  ]);
  return table(["", ...words.tableHead(report).map(plain)], lines);
}

const claimTable = ({ claims }: StudyReport): string =>
  table(
    words.CLAIM_HEAD,
    claims.map((claim) => [
      plain(words.claimTitle(claim)),
      plain(claim.says ?? "–"),
      words.paperText(claim),
      words.claimText(claim),
      words.standingText(claim),
    ]),
  );

export function studyMarkdown(report: StudyReport): string {
  const { title, question, notes, about, scale, paper, seeds, failures, unfinished, plots } = report;
  const parts = [
    `# ${plain(title)}`,
    plain(question),
    ...(notes === null ? [] : [plain(notes)]),
    ...(scale === null ? [] : [plain(`Scale ${scale}. ${about ?? ""}`.trim())]),
    `Paper: ${plain(paper.citation)}${paper.setting === null ? "" : `; its figures: ${plain(paper.setting)}`}`,
    `    ${report.command}`,
    `Mean ± sample standard deviation over the seeds${seeds.length > 0 ? ` ${seeds.join(", ")}` : ""}, then every seed; the paper's figure is of its own setting.`,
    mainTable(report),
    ...(report.claims.length > 0 ? ["## Claims", words.CLAIM_NOTE, claimTable(report)] : []),
    ...(plots.some(({ series }) => series.some(({ points }) => points.length > 0)) ? ["## Curves"] : []),
    ...plots.filter(({ series }) => series.some(({ points }) => points.length > 0)).map(plotTable),
    ...(unfinished > 0 ? [`${unfinished} jobs have not finished: figures that depend on them are missing.`] : []),
    ...(failures.length > 0
      ? ["## Jobs that failed", failures.map((failure) => `- ${plain(words.failureText(failure))}`).join("\n")]
      : []),
    "## This run",
    table(
      ["", ""],
      words.runFacts(report).map(([name, value]) => [name, plain(value)]),
    ),
  ];
  return `${parts.join("\n\n")}\n`;
}
