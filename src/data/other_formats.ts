/** Files that have an image's name and another format, told by their first bytes: an error can then say what to do. */
import sharp from "sharp";

// A drawing is no photograph, and one that begins with a comment or a blank line passes the marks below.
sharp.block({ operation: ["VipsForeignLoadSvg"] });

const startsWith =
  (...marks: readonly string[]) =>
  (head: string) =>
    marks.some((mark) => head.startsWith(mark));

/** By what the first bytes look like as latin1. */
const formats: readonly (readonly [what: string, is: (head: string) => boolean])[] = [
  [
    "a HEIC image: convert it to JPEG",
    (head) => /^.{4}ftyp(hei[cxms]|hev[cxms]|mif1|msf1)/s.test(head) && !head.includes("avif"),
  ],
  ["a JPEG XL image: convert it to JPEG or PNG", startsWith("\xff\x0a", "\0\0\0\x0cJXL ")],
  ["a JPEG 2000 image: convert it to JPEG or PNG", startsWith("\0\0\0\x0cjP  ", "\xff\x4f\xff\x51")],
  ["an HTML page, as a failed download leaves", (head) => /^\s*<(!doctype html|html|head|body)\b/i.test(head)],
  ["a Git LFS pointer: git lfs pull fetches the file", startsWith("version https://git-lfs")],
  ["an SVG drawing or another XML file", (head) => /^(\xef\xbb\xbf)?\s*<(\?xml|svg|!--|!doctype)/i.test(head)],
  ["a PDF file", startsWith("%PDF")],
];
const LOOKED_AT = 64;

/** Throws Error that names the format, for one that is known and not read. */
export function expectNoOtherFormat(bytes: Buffer): void {
  const head = bytes.toString("latin1", 0, LOOKED_AT);
  const found = formats.find(([, is]) => is(head));
  if (found) throw new Error(`is ${found[0]}`);
}
