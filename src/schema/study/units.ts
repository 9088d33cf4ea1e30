/** Units of a report's figures. Nothing of zod, so that the page may have it. */

/** What a stored value is multiplied by. */
export const units = { percent: 100, number: 1, MB: 1e-6, "images/s": 1, s: 1 } as const;
export type Unit = keyof typeof units;

/** As many digits as the unit is read with. */
export function shown(value: number, unit: Unit): string {
  if (unit === "percent") return value.toFixed(1);
  if (unit === "number" && Math.abs(value) < 100) return value.toFixed(3);
  return value.toFixed(0);
}

/** Behind a name: "kNN, %". */
export const titled = (name: string, unit: Unit): string =>
  unit === "number" ? name : `${name}, ${unit === "percent" ? "%" : unit}`;
