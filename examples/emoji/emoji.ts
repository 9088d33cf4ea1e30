/** Which emoji there are, what they are called, and which are held out. */
import { heldOut } from "../../src/data/hold_out.ts";
import { FileError } from "../../src/util/errors.ts";
import { keyOfEmoji } from "./drawings.ts";
import { readJson } from "./packages.ts";

interface Entry {
  readonly hexcode: string;
  readonly label: string;
  readonly tags?: readonly string[];
  /** Unset: a letter of a flag. */
  readonly group?: number;
  readonly order?: number;
}

export interface Emoji {
  readonly hexcode: string;
  /** `animals-nature` and so on: the class. */
  readonly group: string;
  /** By language: the name, then the keywords as one text. */
  readonly texts: Readonly<Record<string, readonly string[]>>;
}

/** Skin tones and hair by themselves. */
const COMPONENTS = "component";
const SKIN = /-1f3f[b-f]/g;
const SEX_OR_DIRECTION = /-200d-(2640|2642|27a1)/g;
const ADULT = /\b1f46[89]\b/g;
const CHILD = /\b1f46[67]\b/g;

/**
 * What emoji share that differ in skin, sex, age or direction alone ("man rowing boat" and "woman rowing boat"): one of them in training
 * would give the others away, and some styles draw them alike.
 */
export const familyOf = (hexcode: string): string =>
  keyOfEmoji(hexcode).replace(SKIN, "").replace(SEX_OR_DIRECTION, "").replace(ADULT, "1f9d1").replace(CHILD, "1f9d2");

const textsOf = ({ label, tags = [] }: Entry): string[] => [label, ...(tags.length > 0 ? [tags.join(", ")] : [])];

/** Without skin tones, in Unicode's order. Throws FileError for a language that the package does not have. */
export async function readEmoji(tarball: string, languages: readonly string[]): Promise<Emoji[]> {
  const fileOf = (language: string) => `${language}/data.json`;
  const files = await readJson(tarball, ["meta/groups.json", "en/data.json", ...languages.map(fileOf)]);
  const { groups } = files.get("meta/groups.json") as { groups: Record<string, string> };
  const named = languages.map((language) => {
    const entries = files.get(fileOf(language)) as readonly Entry[] | undefined;
    if (!entries) throw new FileError(tarball, `has no names in ${language}`);
    return [language, new Map(entries.map((entry) => [entry.hexcode, entry]))] as const;
  });
  const all = (files.get("en/data.json") as readonly Entry[])
    .filter(({ group }) => group !== undefined && groups[group] !== COMPONENTS)
    .sort((a, b) => (a.order ?? 0) - (b.order ?? 0));
  return all.map(({ hexcode, group }) => ({
    hexcode,
    group: groups[group as number] as string,
    texts: Object.fromEntries(
      named.flatMap(([language, entries]) => {
        const entry = entries.get(hexcode);
        return entry ? [[language, textsOf(entry)]] : [];
      }),
    ),
  }));
}

/** Those of a tenth of the families of each group, the same ones every time. */
export function unseenEmoji(emoji: readonly Emoji[], share = 0.1): ReadonlySet<Emoji> {
  const families = [...Map.groupBy(emoji, ({ hexcode }) => familyOf(hexcode)).values()];
  const held = heldOut(
    families.map(([first]) => first?.group),
    share,
  );
  return new Set(families.filter((_, i) => held.has(i)).flat());
}
