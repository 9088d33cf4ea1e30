/** An error that the user has to fix. Its message is shown without a stack; the operation is never retried. */
export class UserError extends Error {
  override name = "UserError";
}

/** A file that is missing, damaged or of another format. The message names it. */
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

/** What something lies on could not be reached: it passes, and is no fault of the file that was being read. */
export class UnreachableError extends Error {
  override name = "UnreachableError";
}

/** Throws unless the shape `got` equals `expected`; a -1 in `expected` allows any size. */
export function expectShape(what: string, got: readonly number[], expected: readonly number[]): void {
  const fits = got.length === expected.length && expected.every((side, i) => side === -1 || side === got[i]);
  if (!fits) throw new Error(`${what}: expected shape [${expected}], got [${got}]`);
}

/** The message of whatever was thrown. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
