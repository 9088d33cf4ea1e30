/** The dataset of emoji (examples/emoji.ts), of packages that are laid out as npm's are, with three emoji. */
import { expect, test } from "bun:test";
import { createHash } from "node:crypto";
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import sharp from "sharp";
import { familyOf, readEmoji, unseenEmoji } from "../../examples/emoji/emoji.ts";
import type { Package } from "../../examples/emoji/packages.ts";
import * as sources from "../../examples/emoji/sources.ts";
import type { Wish, Written } from "../../examples/emoji/write.ts";
import { checkDataset } from "../../src/data/check.ts";
import { loadDataset } from "../../src/data/index.ts";
import { datasetSpec, withReading } from "../../src/schema/dataset.ts";
import { held, temporaryFolder } from "../support/helpers.ts";
import { tarOf } from "../support/tar_bytes.ts";

/** A package where `npm pack` would put it. */
function packed(folder: string, name: string, files: Record<string, unknown>): Package {
  const members = Object.entries(files).map(([file, value]) => ({
    name: `package/${file}`,
    data: Buffer.from(JSON.stringify(value)),
  }));
  const bytes = gzipSync(tarOf(members));
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, `${name.replace("@", "").replace("/", "-")}-1.0.0.tgz`), bytes);
  return { name, version: "1.0.0", integrity: `sha512-${createHash("sha512").update(bytes).digest("base64")}` };
}

const square = (colour: string) => ({ body: `<path fill="${colour}" d="M0 0h8v8H0z"/>` });
const left = { body: '<path fill="#000" d="M0 0h4v8H0z"/>' };

function wishIn(out: string): Wish {
  const folder = join(out, "packages");
  const info = { license: { spdx: "MIT" } };
  const coded = packed(folder, "@x/coded", {
    "icons.json": {
      width: 8,
      height: 8,
      icons: { cat: square("#ff0000"), dog: square("#00ff00"), "point-left": left },
      aliases: { "point-right": { parent: "point-left", hFlip: true } },
    },
    "chars.json": { "1f431": "cat", "1f436": "dog", "1f449": "point-right" },
    "info.json": info,
  });
  // Without code points: found by the names of the other.
  const named = packed(folder, "@x/named", {
    "icons.json": { width: 8, height: 8, icons: { cat: square("#0000ff") } },
    "info.json": info,
  });
  const entries = (of: [string, string, number | undefined, string[]][]) =>
    of.map(([hexcode, label, group, tags], order) => ({ hexcode, label, group, tags, order }));
  const names = packed(folder, "names", {
    "meta/groups.json": { groups: { 0: "animals", 1: "component", 2: "hands" } },
    "en/data.json": entries([
      ["1F431", "cat face", 0, ["pet", "whiskers"]],
      ["1F436", "dog face", 0, []],
      ["1F449", "pointing right", 2, ["hand"]],
      ["1F3FB", "light skin tone", 1, []],
      ["1F1E6", "regional indicator A", undefined, []],
    ]),
    "ru/data.json": entries([["1F431", "кошка", 0, ["усы"]]]),
  });
  const style = (name: string, source: Package) => ({ style: name, source, licence: "MIT", by: name });
  const styles = [style("coded", coded), style("named", named)];
  return { out, side: 16, styles, unseen: "named", names, languages: ["en", "ru"] };
}

/** Throws Error with what it says where it fails. */
function write(wish: Wish): Written {
  const script = join(import.meta.dir, "../support/write_emoji.ts");
  const { exitCode, stdout, stderr } = Bun.spawnSync([process.execPath, script, JSON.stringify(wish)]);
  if (exitCode !== 0) throw new Error(stderr.toString());
  return JSON.parse(stdout.toString()) as Written;
}

const context = { cache: "/nonexistent", log: () => undefined };
const specOf = (path: string, texts: string[]) =>
  datasetSpec.parse(withReading({ kind: "table", path, size: 16, texts }));

test("images on white, tables with texts by language, parts by emoji and by style; the same bytes again", async () => {
  using folder = temporaryFolder();
  const wish = wishIn(folder.path);
  const written = write(wish);
  expect(written).toMatchObject({ emoji: 3, images: { coded: 3, named: 1 }, failed: [] });
  // Of two animals one is held out, a group of one emoji keeps it.
  const { train, emoji, style } = written.parts;
  expect([train, emoji + style]).toEqual([2, 2]);
  const rows = readFileSync(join(folder.path, "emoji.jsonl"), "utf8").trimEnd().split("\n");
  const cat = rows.map((line) => JSON.parse(line)).find(({ hexcode }) => hexcode === "1F431");
  expect(cat).toMatchObject({
    file: "images/coded/1F431.png",
    label: "animals",
    style: "coded",
    en: ["cat face", "pet, whiskers"],
    ru: ["кошка", "усы"],
  });
  const pixel = async (file: string, x: number) => {
    const { data } = await sharp(join(folder.path, "images", file))
      .raw()
      .toBuffer({ resolveWithObject: true });
    return [...data.subarray(3 * x, 3 * x + 3)];
  };
  expect(await pixel("coded/1F431.png", 0)).toEqual([255, 0, 0]);
  expect(await pixel("named/1F431.png", 0)).toEqual([0, 0, 255]);
  expect([await pixel("coded/1F449.png", 0), await pixel("coded/1F449.png", 15)]).toEqual([
    [255, 255, 255],
    [0, 0, 0],
  ]);
  expect(readFileSync(join(folder.path, "LICENCES.md"), "utf8")).toContain("| coded | coded | MIT | @x/coded@1.0.0 |");
  const bytes = () =>
    ["emoji.jsonl", "unseen_style.jsonl"].map((name) => readFileSync(join(folder.path, name), "utf8"));
  const before = bytes();
  write(wish);
  expect(bytes()).toEqual(before);

  const set = await loadDataset(specOf(join(folder.path, "emoji.jsonl"), ["en"]), context);
  expect(held(set.train).count).toBe(2);
  expect(set.train.texts).toContainEqual(["pointing right", "hand"]);
  expect((await checkDataset(specOf(join(folder.path, "emoji.jsonl"), ["en"]), context)).train.texts?.images).toBe(2);
});

test("another file than the pinned one, another licence, and what there is not are refused by name", () => {
  using folder = temporaryFolder();
  const wish = wishIn(folder.path);
  const refused = (more: Partial<Wish>, message: string) => expect(() => write({ ...wish, ...more })).toThrow(message);
  refused({ unseen: "x" }, "unseen: got x, allowed: coded, named");
  refused({ languages: ["fr"] }, "has no names in fr");
  refused({ names: { ...wish.names, integrity: "sha512-x" } }, "allowed: sha512-x");
  const styles = wish.styles.map((style) => ({ ...style, licence: "CC0-1.0" }));
  refused({ styles }, "its licence: got MIT, allowed: CC0-1.0");
  expect(readdirSync(folder.path)).toEqual(["packages"]);
});

test("emoji that differ in skin, sex or direction are of one family, and held out together", async () => {
  const rower = familyOf("1F6A3");
  for (const of of ["1F6A3-200D-2642-FE0F", "1F6A3-1F3FB-200D-2640-FE0F"]) expect(familyOf(of)).toBe(rower);
  expect(familyOf("1F468-1F3FF-200D-1F680")).toBe(familyOf("1F9D1-200D-1F680"));
  expect(familyOf("1F3C3-200D-27A1-FE0F")).toBe(familyOf("1F3C3"));
  // A family of a man and two boys, and of an adult and two children.
  expect(familyOf("1F468-200D-1F466-200D-1F466")).toBe(familyOf("1F9D1-200D-1F9D2-200D-1F9D2"));
  expect(familyOf("1F431")).not.toBe(familyOf("1F436"));
  using folder = temporaryFolder();
  const entries = [...Array(60).keys()].flatMap((i) => {
    const base = (0x1f900 + i).toString(16).toUpperCase();
    return ["", "-200D-2640-FE0F", "-200D-2642-FE0F"].map((of) => ({ hexcode: base + of, label: base, group: 0 }));
  });
  packed(folder.path, "names", { "meta/groups.json": { groups: { 0: "people" } }, "en/data.json": entries });
  const emoji = await readEmoji(join(folder.path, "names-1.0.0.tgz"), ["en"]);
  const unseen = unseenEmoji(emoji);
  expect(unseen.size).toBe(18);
  expect(new Set([...unseen].map(({ hexcode }) => familyOf(hexcode))).size).toBe(6);
});

test("what is fetched is pinned, under licences that allow it", () => {
  const packages = [...sources.styles.map(({ source }) => source), sources.names];
  for (const { version, integrity } of packages) {
    expect(version).toMatch(/^\d+\.\d+\.\d+$/);
    expect(Buffer.from(integrity.replace("sha512-", ""), "base64")).toHaveLength(64);
  }
  for (const { style, source } of sources.styles) expect(style + source.name).not.toMatch(/apple|facebook/);
});
