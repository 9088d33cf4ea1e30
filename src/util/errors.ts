/** What a user did or gave that cannot work. Shown as it is; never retried. */
export class UserError extends Error {
  override name = "UserError";
}

/** A file that is missing, damaged or not what it should be. The message names it. */
export class FileError extends UserError {
  override name = "FileError";
  constructor(
    readonly file: string,
    problem: string,
    options?: ErrorOptions,
  ) {
    super(`${file}: ${problem}`, options);
  }
}

/** Throws unless `got` equals `expected`; a -1 in `expected` allows any size. */
export function expectShape(what: string, got: readonly number[], expected: readonly number[]): void {
  const fits = got.length === expected.length && expected.every((side, i) => side === -1 || side === got[i]);
  if (!fits) throw new Error(`${what}: expected shape [${expected}], got [${got}]`);
}

/** An index that must be there: `noUncheckedIndexedAccess` at the few places where a bound is known. */
export function at<T>(list: ArrayLike<T>, index: number): T {
  const value = list[index];
  if (value === undefined) throw new RangeError(`index ${index} of ${list.length}`);
  return value;
}

export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
