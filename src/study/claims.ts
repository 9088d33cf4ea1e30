/** What agrees with a paper's claims, seed by seed. */
import type { StudySpec } from "../schema/study/spec.ts";
import { differenceOf } from "./statistics.ts";
import type { Cell, ReportClaim, ReportRow, Standing } from "./types.ts";

/** With fewer seeds an interval is too wide to say much. */
export const FEW_SEEDS = 3;

export function claimsOf({ claims, table: { columns } }: StudySpec, rows: readonly ReportRow[]): ReportClaim[] {
  return claims.map(({ better, than, in: name, says = null }): ReportClaim => {
    const at = columns.findIndex((column) => column.name === name);
    const { unit, better: direction } = columns[at] as (typeof columns)[number];
    const sign = direction === "higher" ? 1 : -1;
    const [one, other] = [better, than].map((row) => rows.find((of) => of.name === row));
    const pairs = pairsOf(one?.cells[at] ?? null, other?.cells[at] ?? null);
    const differences = pairs.map(([, a, b]) => sign * (a - b));
    const found = differenceOf(differences);
    const [paper, paperOther] = [one?.paper[at] ?? null, other?.paper[at] ?? null];
    return {
      better,
      than,
      column: name,
      unit,
      says,
      difference: found?.mean ?? null,
      interval: found?.interval ?? null,
      differences,
      seeds: pairs.map(([seed]) => seed),
      few: pairs.length < FEW_SEEDS,
      standing: standingOf(found?.interval ?? null),
      paper: paper === null || paperOther === null ? null : sign * (paper - paperOther),
    };
  });
}

/** Values of the seeds that both have. */
function pairsOf(one: Cell | null, other: Cell | null): [seed: number | null, one: number, other: number][] {
  if (!one || !other) return [];
  return one.seeds.flatMap((seed, i) => {
    const at = other.seeds.indexOf(seed);
    return at < 0 ? [] : [[seed, one.values[i] as number, other.values[at] as number]];
  });
}

function standingOf(interval: readonly [number, number] | null): Standing {
  if (!interval) return "open";
  const [low, high] = interval;
  return low > 0 ? "agrees" : high < 0 ? "disagrees" : "undecided";
}
