/** What the name of a file says: whether it is an image, rubbish of a system, and which part and class it belongs to. */

/** Read by sharp, or by `data/pixels.ts` where libvips has no reader of its own. */
const IMAGES = /\.(jpe?g|jpe|jfif|png|webp|gif|tiff?|avif|bmp|dib|ppm|pgm|pnm)$/i;

export const isImage = (name: string): boolean => IMAGES.test(name);

const RUBBISH = /(^|\/)(\.|(__MACOSX|thumbs\.db|ehthumbs\.db|desktop\.ini|@eaDir|\$RECYCLE\.BIN)(\/|$))/i;

/** What systems leave beside people's files: macOS's archives and previews, Windows's thumbnails, a NAS's indices. */
export const isRubbish = (name: string): boolean => RUBBISH.test(name);

/** `.txt`, in small letters; "no extension" where there is none. */
export const extensionOf = (name: string): string => /\.[^./]+$/.exec(name)?.[0].toLowerCase() ?? "no extension";

/** A key of WebDataset: the name up to the first dot behind the last slash. */
export const keyOf = (name: string): string => /^(?:.*\/)?[^./]*/.exec(name)?.[0] ?? name;

/** The first folder of a name, behind its first `cut` characters. Undefined for a file that is in none. */
export function firstFolder(name: string, cut: number): string | undefined {
  const slash = name.indexOf("/", cut);
  return slash < 0 ? undefined : name.slice(cut, slash);
}

/** The name up to its last dot. */
export const stemOf = (name: string): string => name.replace(/\.[^./]*$/, "");

export const TRAIN: readonly string[] = ["train", "training"];
/** The first of them that has classes is the test part; where none has, the first. */
export const TESTS: readonly string[] = ["test", "testing", "val", "valid", "validation"];

/** Which of a file's folders is its class: the first below the root, as torchvision's ImageFolder has it, or the one it lies in. */
export type ClassFolder = "first" | "deepest";

function classOf(name: string, cut: number, folder: ClassFolder): string | undefined {
  if (folder === "first") return firstFolder(name, cut);
  const end = name.lastIndexOf("/");
  return end < cut ? undefined : name.slice(Math.max(cut, name.lastIndexOf("/", end - 1) + 1), end);
}

/**
 * The class of a file by its name. Files of one folder mostly follow each other, and share one string.
 *
 * @param cut - Characters that the root takes.
 */
export function classReader(cut: number, folder: ClassFolder): (name: string) => string | undefined {
  let last: { readonly folder: string; readonly className: string | undefined } | undefined;
  const classes = new Map<string, string>();
  return (name) => {
    if (last && name.startsWith(last.folder) && !name.includes("/", last.folder.length)) return last.className;
    const found = classOf(name, cut, folder);
    const className = found && (classes.get(found) ?? found);
    if (className !== undefined) classes.set(className, className);
    last = { folder: name.slice(0, name.lastIndexOf("/") + 1), className };
    return className;
  };
}

/** The folder that all names lie in, where each of them lies in another one below it; "" where there is none. */
export function commonFolder(entries: readonly { readonly name: string }[]): string {
  const first = entries[0] && firstFolder(entries[0].name, 0);
  if (first === undefined) return "";
  const prefix = `${first}/`;
  return entries.every(({ name }) => name.startsWith(prefix) && name.includes("/", prefix.length)) ? prefix : "";
}

/** `shard-{000..041}.tar` as 42 names; a name without such a range is itself. Throws RangeError for more than 100,000. */
export function expandBraces(pattern: string): string[] {
  const range = /\{(\d+)\.\.(\d+)\}/.exec(pattern);
  if (!range) return [pattern];
  const [whole, from, to] = range as unknown as [string, string, string];
  const [low, high] = [Number(from), Number(to)];
  if (high < low || high - low >= 100_000) throw new RangeError(`${whole}: allowed: at most 100000, counted upwards`);
  const [before, after] = [pattern.slice(0, range.index), pattern.slice(range.index + whole.length)];
  return Array.from({ length: high - low + 1 }, (_, i) => String(low + i).padStart(from.length, "0")).flatMap((n) =>
    expandBraces(before + n + after),
  );
}
