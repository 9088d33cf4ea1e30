/** What the name of a file says: whether it is an image, rubbish of a system, and which part and class it belongs to. */

/** Read by sharp, or by `data/pixels.ts` where libvips has no reader of its own. */
const IMAGES = /\.(jpe?g|jpe|jfif|png|webp|gif|tiff?|avif|bmp|dib|ppm|pgm|pnm)$/i;

export const isImage = (name: string): boolean => IMAGES.test(name);

/** What systems leave beside people's files: macOS's archives and previews, Windows's thumbnails, a NAS's indices. */
export function isRubbish(name: string): boolean {
  return name
    .split("/")
    .some(
      (part) =>
        part.startsWith(".") || /^(__MACOSX|thumbs\.db|ehthumbs\.db|desktop\.ini|@eaDir|\$RECYCLE\.BIN)$/i.test(part),
    );
}

/** `.txt`, in small letters; "no extension" where there is none. */
export const extensionOf = (name: string): string => /\.[^./]+$/.exec(name)?.[0].toLowerCase() ?? "no extension";

/** A key of WebDataset: the name up to the first dot behind the last slash. */
export const keyOf = (name: string): string => /^(?:.*\/)?[^./]*/.exec(name)?.[0] ?? name;

/** A folder below the root that names a part, in small letters. */
export const partOf = (name: string): string | undefined => {
  const slash = name.indexOf("/");
  return slash < 0 ? undefined : name.slice(0, slash).toLowerCase();
};

export const TRAIN: readonly string[] = ["train", "training"];
/** The first of them that has classes is the test part; where none has, the first. */
export const TESTS: readonly string[] = ["test", "testing", "val", "valid", "validation"];

/** Which of a file's folders is its class: the first below the root, as torchvision's ImageFolder has it, or the one it lies in. */
export type ClassFolder = "first" | "deepest";

export function classOf(name: string, folder: ClassFolder): string | undefined {
  const folders = name.split("/").slice(0, -1);
  return folders.at(folder === "first" ? 0 : -1);
}

/** The folder that all names lie in, where each of them lies in another one below it; "" where there is none. */
export function commonFolder(names: readonly string[]): string {
  const first = names[0]?.split("/")[0];
  if (first === undefined) return "";
  const prefix = `${first}/`;
  return names.every((name) => name.startsWith(prefix) && name.split("/").length > 2) ? prefix : "";
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
