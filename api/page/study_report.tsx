/** A study's report on the page: what the HTML report has, of the same JSON and in the same words. */
import { shown, titled, type Unit } from "../../src/schema/study/units.ts";
import type { Cell, ReportClaim, ReportPlot, StudyReport } from "../../src/study/types.ts";
import * as words from "../../src/study/words.ts";
import { Table } from "./parts.tsx";
import { Plot } from "./plot.tsx";

function Figure({ cell, paper, unit }: { cell: Cell | null; paper: number | null; unit: Unit }) {
  return (
    <td>
      {cell ? (
        <details>
          <summary>{words.cellText(cell, unit)}</summary>
          {words.seedsText(cell, unit)}
        </details>
      ) : (
        <span class="quiet">–</span>
      )}
      {paper !== null && <span class="quiet"> ({shown(paper, unit)})</span>}
    </td>
  );
}

function Claim({ claim }: { claim: ReportClaim }) {
  return (
    <tr>
      <th scope="row">{words.claimTitle(claim)}</th>
      <td>{claim.says ?? "–"}</td>
      <td>{words.paperText(claim)}</td>
      <td>{words.claimText(claim)}</td>
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
  const { question, notes, scale, about, paper, columns, rows, claims, plots, failures, unfinished } = report;
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
      <Table
        what="table of the study"
        caption={words.TABLE_NOTE}
        head={["Row", ...columns.map(({ name, unit }) => titled(name, unit))]}
      >
        {rows.map(({ name, cells, paper: theirs }) => (
          <tr key={name}>
            <th scope="row">{name}</th>
            {columns.map((column, i) => (
              <Figure key={column.name} cell={cells[i] ?? null} paper={theirs[i] ?? null} unit={column.unit} />
            ))}
          </tr>
        ))}
      </Table>
      {claims.length > 0 && (
        <>
          <h2>Claims</h2>
          <Table
            what="claims"
            caption={words.CLAIM_NOTE}
            head={["Claim", "The paper says", "The paper's difference", "Ours", "Ours and the claim"]}
          >
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
