/** A report as one HTML file that needs nothing else. */
import { shown } from "../schema/study/units.ts";
import { escaped, plotSvg } from "./svg.ts";
import type { Cell, ReportColumn, ReportRow, StudyReport } from "./types.ts";
import * as words from "./words.ts";

const STYLE = `body{font:16px/1.5 system-ui,sans-serif;max-width:72rem;margin:2rem auto;padding:0 1rem;color:#1c1c1c;background:#fff}
table{border-collapse:collapse;margin:1rem 0}th,td{border:1px solid #c8c8c8;padding:.3rem .6rem;text-align:left;vertical-align:top}
.scroll{overflow-x:auto}.quiet{color:#555}figure{margin:1.5rem 0}svg{max-width:100%;height:auto}
summary{cursor:pointer}code{background:#f0f0f0;padding:.1rem .3rem}.agrees{color:#1e6b34}.disagrees{color:#a32020}`;

const tag = (name: string, content: string, attributes = ""): string =>
  `<${name}${attributes && ` ${attributes}`}>${content}</${name}>`;
const cell = (content: string): string => tag("td", content);
const row = (cells: readonly string[]): string => tag("tr", cells.join(""));

function table(note: string, head: readonly string[], rows: readonly string[]): string {
  const names = row(head.map((name) => tag("th", escaped(name), 'scope="col"')));
  const body = tag("table", `${tag("thead", names)}${tag("tbody", rows.join("\n"))}`);
  const region = tag("div", body, `class="scroll" tabindex="0" role="region" aria-label="${escaped(note)}"`);
  return `${tag("p", escaped(note), 'class="quiet"')}\n${region}`;
}

const folded = (title: string, more: string): string =>
  more ? tag("details", tag("summary", escaped(title)) + escaped(more)) : escaped(title);

const figureCell = (found: Cell | null, { unit }: ReportColumn): string =>
  cell(found ? folded(words.cellText(found, unit), words.seedsText(found, unit)) : "–");

function tableRow(report: StudyReport, one: ReportRow): string {
  const { point, cells, paper } = one;
  const figures = report.columns.flatMap((column, i) => {
    const theirs = paper[i] ?? null;
    const beside = words.hasPaper(report, i) ? [cell(theirs === null ? "–" : shown(theirs, column.unit))] : [];
    return [figureCell(cells[i] ?? null, column), ...beside];
  });
  return row([tag("th", folded(words.rowTitle(one), words.pointText(point)), 'scope="row"'), ...figures]);
}

function claims({ claims: all }: StudyReport): string {
  if (all.length === 0) return "";
  const rows = all.map((claim) =>
    row([
      tag("th", escaped(words.claimTitle(claim)), 'scope="row"'),
      cell(escaped(claim.says ?? "–")),
      cell(words.paperText(claim)),
      cell(folded(words.claimText(claim), words.seedsText({ ...claim, values: claim.differences }, claim.unit))),
      cell(tag("strong", words.standingText(claim), `class="${claim.standing}"`)),
    ]),
  );
  return `${tag("h2", "Claims")}\n${table(words.CLAIM_NOTE, words.CLAIM_HEAD, rows)}`;
}

function failures({ failures: all, unfinished }: StudyReport): string {
  const open =
    unfinished > 0 ? tag("p", `${unfinished} jobs have not finished: figures that depend on them are missing.`) : "";
  if (all.length === 0) return open;
  const list = all.map((failure) => tag("li", escaped(words.failureText(failure)))).join("\n");
  return `${open}${tag("h2", "Jobs that failed")}\n${tag("ul", list)}`;
}

function run(report: StudyReport): string {
  const facts = words
    .runFacts(report)
    .map(([name, value]) => row([tag("th", name, 'scope="row"'), cell(escaped(value))]));
  const jobs = report.run.jobs.map(({ id, job, seed, status, seconds }) =>
    row(
      [id, job, seed ?? "", status, seconds === null ? "" : seconds.toFixed(1)].map((value) =>
        cell(escaped(String(value))),
      ),
    ),
  );
  const all = table("The jobs and the seconds that each took", ["Id", "Job", "Seed", "Status", "Seconds"], jobs);
  return `${tag("h2", "This run")}\n${table("What differs when the study is run again", ["What", "Value"], facts)}\n${tag("details", tag("summary", `${jobs.length} jobs`) + all)}`;
}

export function studyHtml(report: StudyReport): string {
  const { title, question, notes, about, scale, paper, columns } = report;
  const scaleText = scale === null ? [] : [tag("p", escaped(`Scale ${scale}. ${about ?? ""}`.trim()))];
  const parts = [
    tag("h1", escaped(title)),
    tag("p", escaped(question)),
    ...(notes === null ? [] : [tag("p", escaped(notes))]),
    ...scaleText,
    tag(
      "p",
      escaped(`Paper: ${paper.citation}${paper.setting === null ? "" : `; its figures: ${paper.setting}`}`),
      'class="quiet"',
    ),
    tag("h2", "Table"),
    table(
      words.TABLE_NOTE,
      ["Row", ...words.tableHead(report)],
      report.rows.map((of) => tableRow(report, of)),
    ),
    tag("p", escaped(columns.map(({ name, of }) => `${name}: ${of}`).join("; ")), 'class="quiet"'),
    claims(report),
    ...report.plots.map((plot) => tag("figure", tag("figcaption", escaped(plot.title)) + plotSvg(plot))),
    failures(report),
    run(report),
  ];
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">
<title>${escaped(title)}</title><style>${STYLE}</style></head><body><main>
${parts.filter(Boolean).join("\n")}
</main></body></html>
`;
}
