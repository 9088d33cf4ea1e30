/** Units of a report's figures. Nothing of zod, so that the page may have it. */

/** What a stored value is multiplied by. */
export const units = { percent: 100, number: 1, MB: 1e-6, "images/s": 1, s: 1 } as const;
export type Unit = keyof typeof units;

/** As many digits as the unit is read with. */
export function shown(value: number, unit: Unit): string {
  const digits = unit === "percent" ? 1 : unit === "number" && Math.abs(value) < 100 ? 3 : 0;
  const text = value.toFixed(digits);
  return Number(text) === 0 ? text.replace("-", "") : text;
}

/** Behind a name: "kNN, %". */
export const titled = (name: string, unit: Unit): string =>
  unit === "number" ? name : `${name}, ${unit === "percent" ? "%" : unit}`;
