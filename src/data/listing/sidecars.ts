/** Classes that are not folders but files: WebDataset's `.cls` and `.json` beside an image, Tiny-ImageNet's `val_annotations.txt`. */
import { FileError } from "../../util/errors.ts";
import { inParallel } from "../../util/parallel.ts";
import { type Beside, filesBeside, type Group, imageNamesOf } from "./groups.ts";
import { keyOf } from "./names.ts";
import type { Entry } from "./types.ts";

/** Fields of a `.json` that say the class, the first one that is there. */
const FIELDS = ["cls", "label", "class", "class_name"] as const;
const SIDECAR = /\.(cls|json)$/;
const LIST = /(^|\/)val_annotations\.txt$/;

export interface Labels {
  /** Class by the key of an image, which is its name up to the first dot. */
  readonly labels: ReadonlyMap<string, string>;
  /** The files that say them. */
  readonly used: ReadonlySet<Entry>;
  readonly notes: readonly string[];
}

function ofJson(path: string, name: string, text: string): string | undefined {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw new FileError(path, `${name} is no JSON`);
  }
  const found = FIELDS.map((field) => (value as Record<string, unknown> | null)?.[field]).find((v) => v !== undefined);
  return found === undefined ? undefined : String(found);
}

/** Throws FileError for a `.json` that is none. */
export async function labelsBeside(path: string, groups: readonly Group[]): Promise<Labels> {
  const labels = new Map<string, string>();
  const used = new Set<Entry>();
  const found = filesBeside(groups, (name) => SIDECAR.test(name));
  const list = filesBeside(groups, (name) => LIST.test(name))[0];
  if (found.length === 0 && !list) return { labels, used, notes: [] };
  const images = new Set(imageNamesOf(groups).map(keyOf));
  const sidecars = found.filter(({ name }) => images.has(keyOf(name)));
  await inParallel(sidecars.length, async (i) => {
    const { name, entry } = sidecars[i] as Beside;
    const text = (await entry.read()).toString("utf8").trim();
    const label = name.endsWith(".cls") ? text : ofJson(path, name, text);
    used.add(entry);
    // What `.cls` says goes before what `.json` says.
    if (label !== undefined && (name.endsWith(".cls") || !labels.has(keyOf(name)))) labels.set(keyOf(name), label);
  });
  if (list) {
    used.add(list.entry);
    const folder = list.name.replace(LIST, "$1");
    for (const line of (await list.entry.read()).toString("utf8").split("\n")) {
      const [image, label] = line.split("\t");
      if (!image || !label) continue;
      // The images lie beside the list or, as Tiny-ImageNet has them, in `images/`.
      for (const key of [keyOf(folder + image), keyOf(`${folder}images/${image}`)]) {
        if (images.has(key)) labels.set(key, label.trim());
      }
    }
  }
  const notes =
    labels.size > 0 ? [`${labels.size} classes are read from ${list ? list.name : ".cls and .json files"}`] : [];
  return { labels, used, notes };
}
