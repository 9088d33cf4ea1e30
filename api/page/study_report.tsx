/** A study's report on the page: what the HTML report has, of the same JSON and in the same words. */
import { shown, type Unit } from "../../src/schema/study/units.ts";
import type { Cell, ReportClaim, ReportPlot, ReportRow, StudyReport } from "../../src/study/types.ts";
import * as words from "../../src/study/words.ts";
import { Table } from "./parts.tsx";
import { Plot } from "./plot.tsx";

function Folded({ title, more }: { title: string; more: string }) {
  if (!more) return <>{title}</>;
  return (
    <details>
      <summary>{title}</summary>
      {more}
    </details>
  );
}

function Figure({ cell, unit }: { cell: Cell | null; unit: Unit }) {
  if (!cell) return <span class="quiet">–</span>;
  return <Folded title={words.cellText(cell, unit)} more={words.seedsText(cell, unit)} />;
}

function Row({ report, row }: { report: StudyReport; row: ReportRow }) {
  const { point, cells, paper } = row;
  return (
    <tr>
      <th scope="row">
        <Folded title={words.rowTitle(row)} more={words.pointText(point)} />
      </th>
      {report.columns.flatMap(({ name: column, unit }, i) => {
        const theirs = paper[i] ?? null;
        return [
          <td key={column}>
            <Figure cell={cells[i] ?? null} unit={unit} />
          </td>,
          words.hasPaper(report, i) && (
            <td key={`${column}, paper`} class="quiet">
              {theirs === null ? "–" : shown(theirs, unit)}
            </td>
          ),
        ];
      })}
    </tr>
  );
}

function Claim({ claim }: { claim: ReportClaim }) {
  return (
    <tr>
      <th scope="row">{words.claimTitle(claim)}</th>
      <td>{claim.says ?? "–"}</td>
      <td>{words.paperText(claim)}</td>
      <td>
        <Folded
          title={words.claimText(claim)}
          more={words.seedsText({ ...claim, values: claim.differences }, claim.unit)}
        />
      </td>
      <td>
        <strong>{words.standingText(claim)}</strong>
      </td>
    </tr>
  );
}

function Curves({ plot: { title, x, y, logarithmic, series } }: { plot: ReportPlot }) {
  const drawn = series.filter(({ points }) => points.length > 0);
  if (drawn.length === 0) return null;
  const place = (value: number) => (logarithmic ? Math.log2(value) : value);
  const curves = drawn.map(({ name, points }) => ({
    name,
    points: points.map(([at, of]) => [place(at), of] as const),
  }));
  return <Plot title={`${title}: ${y}`} x={logarithmic ? `log2 of ${x}` : x} curves={curves} />;
}

export function Report({ report }: { report: StudyReport }) {
  const { question, notes, scale, about, paper, rows, claims, plots, failures, unfinished } = report;
  return (
    <>
      <p>{question}</p>
      {notes && <p>{notes}</p>}
      {scale && (
        <p>
          Scale {scale}. {about}
        </p>
      )}
      <p class="quiet">
        Paper: {paper.citation}
        {paper.setting && `; its figures: ${paper.setting}`}
      </p>
      <h2>Table</h2>
      <Table what="table of the study" caption={words.TABLE_NOTE} head={["Row", ...words.tableHead(report)]}>
        {rows.map((row) => (
          <Row key={row.name} report={report} row={row} />
        ))}
      </Table>
      {claims.length > 0 && (
        <>
          <h2>Claims</h2>
          <Table what="claims" caption={words.CLAIM_NOTE} head={words.CLAIM_HEAD}>
            {claims.map((claim) => (
              <Claim key={words.claimTitle(claim)} claim={claim} />
            ))}
          </Table>
        </>
      )}
      <div class="plots">
        {plots.map((plot) => (
          <Curves key={plot.title} plot={plot} />
        ))}
      </div>
      {unfinished > 0 && <p class="quiet">{unfinished} jobs have not finished.</p>}
      {failures.length > 0 && (
        <>
          <h2>Jobs that failed</h2>
          <ul>
            {failures.map((failure) => (
              <li key={words.failureText(failure)}>{words.failureText(failure)}</li>
            ))}
          </ul>
        </>
      )}
      <h2>This run</h2>
      <Table what="facts of this run" head={["What", "Value"]}>
        {words.runFacts(report).map(([name, value]) => (
          <tr key={name}>
            <th scope="row">{name}</th>
            <td>{value}</td>
          </tr>
        ))}
      </Table>
    </>
  );
}
