/** Which class is taken for which. */
import { percent } from "./parts.tsx";

interface Props {
  /** Rows: true classes, columns: answers. */
  readonly confusion: readonly (readonly number[])[];
  readonly classes: readonly string[];
}

/** Of so many classes the table is too wide to be read. */
const READABLE = 20;
const WORST = 10;

export function Confusion({ confusion, classes }: Props) {
  const name = (i: number) => classes[i] ?? String(i);
  const totals = confusion.map((row) => row.reduce((a, b) => a + b, 0));
  const worst = confusion
    .flatMap((row, i) => row.map((count, j) => ({ i, j, count, share: count / (totals[i] || 1) })))
    .filter(({ i, j, count }) => i !== j && count > 0)
    .sort((a, b) => b.share - a.share)
    .slice(0, WORST);
  return (
    <>
      {confusion.length <= READABLE && (
        // biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls must be reachable by keyboard
        <section class="scroll" tabIndex={0} aria-label="confusion matrix">
          <table class="confusion">
            <caption>Rows: what it is; columns: what it is taken for; in percent of the row.</caption>
            <thead>
              <tr>
                <td />
                {classes.map((of) => (
                  <th key={of} scope="col">
                    {of}
                  </th>
                ))}
              </tr>
            </thead>
            <tbody>
              {confusion.map((row, i) => (
                <tr key={name(i)}>
                  <th scope="row">{name(i)}</th>
                  {row.map((count, j) => {
                    const share = count / (totals[i] || 1);
                    const hue = i === j ? "var(--good)" : "var(--bad)";
                    const strength = Math.round(55 * Math.sqrt(share));
                    return (
                      <td
                        key={name(j)}
                        title={`${count} of ${totals[i]} ${name(i)} as ${name(j)}`}
                        style={{ background: `color-mix(in srgb, ${hue} ${strength}%, transparent)` }}
                      >
                        {count > 0 ? Math.round(100 * share) : ""}
                      </td>
                    );
                  })}
                </tr>
              ))}
            </tbody>
          </table>
        </section>
      )}
      <p>
        Most often taken for another:{" "}
        {worst.map(({ i, j, share }) => `${name(i)} for ${name(j)} (${percent(share)})`).join(", ") || "none"}.
      </p>
    </>
  );
}
