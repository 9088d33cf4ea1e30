/**
 * The drawings of a style, by code points. They are SVG, which what reads images of users (`src/data`) has sharp refuse: the two are not
 * for one process.
 */
import sharp from "sharp";
import { FileError } from "../../src/util/errors.ts";
import { readJson } from "./packages.ts";
import type { Style } from "./sources.ts";

interface Icon {
  readonly body: string;
  readonly width?: number;
  readonly height?: number;
}
interface Alias {
  readonly parent: string;
  readonly hFlip?: boolean;
}
interface Icons {
  readonly icons: Readonly<Record<string, Icon>>;
  readonly aliases?: Readonly<Record<string, Alias>>;
  readonly width: number;
  readonly height: number;
}

/** Code points without the selector of the coloured form, which sets write or leave out as they like. */
export const keyOfEmoji = (hexcode: string): string => hexcode.toLowerCase().replaceAll("-fe0f", "");

export interface DrawingSet extends Style {
  readonly icons: Icons;
  /** Names by `keyOfEmoji`; empty where the set does not say its code points. */
  readonly own: ReadonlyMap<string, string>;
}

/** Throws FileError for a package under another licence than is said here. */
export async function openStyle(style: Style, tarball: string): Promise<DrawingSet> {
  const files = await readJson(tarball, ["icons.json", "chars.json", "info.json"]);
  const info = files.get("info.json") as { license?: { spdx?: string } } | undefined;
  if (info?.license?.spdx !== style.licence) {
    throw new FileError(tarball, `its licence: got ${info?.license?.spdx}, allowed: ${style.licence}`);
  }
  const chars = Object.entries((files.get("chars.json") ?? {}) as Record<string, string>);
  return {
    ...style,
    icons: files.get("icons.json") as Icons,
    own: new Map(chars.map(([hexcode, name]) => [keyOfEmoji(hexcode), name])),
  };
}

export type SharedNames = ReadonlyMap<string, readonly string[]>;

/** Names that any set has for an emoji, by `keyOfEmoji`: mostly Unicode's, by which it is found in sets that say no code points. */
export function sharedNames(sets: readonly DrawingSet[]): SharedNames {
  const shared = new Map<string, string[]>();
  for (const { own } of sets) {
    for (const [key, name] of own) {
      const names = shared.get(key) ?? [];
      if (!names.includes(name)) names.push(name);
      shared.set(key, names);
    }
  }
  return shared;
}

/** An icon or an alias of one, as a whole. */
function iconOf({ icons, aliases = {}, ...size }: Icons, name: string): Required<Icon> | undefined {
  const alias = aliases[name];
  const found = icons[alias?.parent ?? name];
  if (!found) return undefined;
  const icon = { ...size, ...found };
  if (!alias?.hFlip) return icon;
  return { ...icon, body: `<g transform="matrix(-1 0 0 1 ${icon.width} 0)">${icon.body}</g>` };
}

/** An emoji as SVG; undefined where the set has none of it. */
export function svgOf(set: DrawingSet, key: string, shared: SharedNames, side: number): string | undefined {
  const names = set.own.size > 0 ? [set.own.get(key) ?? ""] : (shared.get(key) ?? []);
  const icon = names.map((name) => iconOf(set.icons, name)).find((found) => found !== undefined);
  if (!icon) return undefined;
  const { body, width, height } = icon;
  return (
    `<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" width="${side}" height="${side}" ` +
    `viewBox="0 0 ${width} ${height}">${body}</svg>`
  );
}

/** PNG of RGB on white: what is transparent in the drawing has no colour of its own. */
export const drawn = (svg: string): Promise<Buffer> =>
  sharp(Buffer.from(svg)).flatten({ background: "white" }).removeAlpha().png({ compressionLevel: 9 }).toBuffer();
