/** A spec over another. Nothing of zod, so that the page may have it. */
export const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);

/** Fields that `over` does not name are those of `base`; records are merged, lists replaced, and so is a record of another `kind`. */
export function merge(base: unknown, over: unknown): unknown {
  if (!isRecord(base) || !isRecord(over)) return over === undefined ? base : over;
  if (over.kind !== undefined && base.kind !== undefined && over.kind !== base.kind) return over;
  const merged: Record<string, unknown> = { ...base };
  for (const [key, value] of Object.entries(over)) merged[key] = merge(base[key], value);
  return merged;
}

/** `baselines.untrained.top1` of a result. */
export const valueAt = (value: unknown, path: string): unknown =>
  path.split(".").reduce<unknown>((at, name) => (isRecord(at) ? at[name] : undefined), value);
