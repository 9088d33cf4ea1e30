/** Prints a value for `--json`. */
export const printJson = (value: unknown): void => console.log(JSON.stringify(value, null, 2));
