/** Which arrays of a file are what: as NumPy's, Keras's, MedMNIST's and PCam's users name them, or as the spec says. */
import { FileError } from "../../util/errors.ts";

/** The first one that is there. */
export const IMAGES = ["train_images", "x_train", "X_train", "images", "x", "X", "data", "arr_0", ""];
export const LABELS = ["train_labels", "y_train", "Y_train", "labels", "y", "Y", "targets", "label", ""];

/** Images and labels of a test part in the same file, or in one of its own. */
export const TESTS = [
  ["test_images", "test_labels"],
  ["x_test", "y_test"],
  ["X_test", "Y_test"],
  ["val_images", "val_labels"],
  ["x_val", "y_val"],
] as const;

/** By its whole name, else by what follows the last slash: the one in the fewest groups, if it is the only one there. */
export function findName(names: readonly string[], wanted: readonly string[]): string | undefined {
  const whole = wanted.find((name) => names.includes(name));
  if (whole !== undefined) return whole;
  const depth = (name: string) => name.split("/").length;
  for (const name of wanted.filter(Boolean)) {
    const [first, second] = names.filter((one) => one.endsWith(`/${name}`)).sort((a, b) => depth(a) - depth(b));
    if (first !== undefined && (second === undefined || depth(second) > depth(first))) return first;
  }
  return undefined;
}

/**
 * The array for a field.
 *
 * @param chosen - What the spec says, as `arrays.images` or `arrays.labels`.
 * @throws FileError with the names that the file has, where none is chosen or known.
 */
export function expectName(
  file: string,
  names: readonly string[],
  field: "images" | "labels",
  chosen: string | undefined,
  known: readonly string[] = field === "images" ? IMAGES : LABELS,
): string {
  if (chosen !== undefined && names.length === 1 && names[0] === "") return "";
  const has = names.slice(0, 20).join(", ") || "none";
  if (chosen !== undefined) {
    if (names.includes(chosen)) return chosen;
    throw new FileError(file, `has the arrays ${has}; none of them is arrays.${field}, "${chosen}"`);
  }
  const found = findName(names, known) ?? (names.length === 1 ? names[0] : undefined);
  if (found !== undefined) return found;
  throw new FileError(file, `has the arrays ${has}; none of them is called ${known.filter(Boolean).join(", ")}`);
}
