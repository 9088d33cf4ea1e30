/** Series of metrics: downsampling and CSV. */

export interface Step {
  epoch: number;
  step: number;
  loss: number;
  [name: string]: number;
}

/** Downsamples steps to at most `points` lines: the means of consecutive steps, with their lowest and highest loss. */
export function downsample(lines: readonly Step[], points: number): Step[] {
  const width = Math.ceil(lines.length / points);
  if (width <= 1) return [...lines];
  return Array.from({ length: Math.ceil(lines.length / width) }, (_, i) => {
    const some = lines.slice(i * width, (i + 1) * width);
    const last = some.at(-1) as Step;
    const means = Object.keys(last).map((name) => [
      name,
      some.reduce((sum, line) => sum + (line[name] as number), 0) / some.length,
    ]);
    const losses = some.map(({ loss }) => loss);
    const { epoch, step } = last;
    return {
      ...(Object.fromEntries(means) as Step),
      epoch,
      step,
      lowest: Math.min(...losses),
      highest: Math.max(...losses),
    };
  });
}

/** Downsamples epochs to at most `points` lines: the latest value of each field that is not null. */
export function latest<T extends object>(lines: readonly T[], points = Number.POSITIVE_INFINITY): T[] {
  const width = Math.ceil(lines.length / points);
  if (width <= 1) return [...lines];
  const known = (line: T) => Object.entries(line).filter(([, value]) => value !== null);
  return Array.from({ length: Math.ceil(lines.length / width) }, (_, i) => {
    const some = lines.slice(i * width, (i + 1) * width);
    return { ...(some.at(-1) as T), ...(Object.fromEntries(some.flatMap(known)) as Partial<T>) };
  });
}

/** Flattens `{ queue: { age: 1 } }` to `{ "queue.age": 1 }`. */
function flat(value: object, prefix = ""): [name: string, value: unknown][] {
  return Object.entries(value).flatMap(([name, inner]) =>
    typeof inner === "object" && inner !== null ? flat(inner, `${prefix}${name}.`) : [[prefix + name, inner] as const],
  ) as [string, unknown][];
}

const cell = (value: unknown): string => {
  const text = value === null || value === undefined ? "" : String(value);
  return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
};

/** Encodes lines as CSV (RFC 4180), with a column for every name in any line, in the order of appearance. */
export function toCsv(lines: readonly object[]): string {
  const rows = lines.map((line) => new Map(flat(line)));
  const names = [...new Set(rows.flatMap((row) => [...row.keys()]))];
  const text = [names, ...rows.map((row) => names.map((name) => row.get(name)))];
  return text.map((cells) => `${cells.map(cell).join(",")}\r\n`).join("");
}
