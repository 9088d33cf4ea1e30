/** What is in a dataset, as text. */
import type { DatasetReport, PartReport, TextsReport } from "../src/schema/dataset.ts";

const describeTexts = ({ images, texts, withoutCount, without, ...characters }: TextsReport): string[] => [
  `  texts  ${texts} of ${images} images, ${characters.meanCharacters.toFixed(1)} characters on average, at most ${characters.mostCharacters}`,
  ...(withoutCount > 0 ? [`  none   ${withoutCount} images, left out`] : []),
  ...without.slice(0, 20).map((name) => `  none   ${name}`),
];

function describePart(name: string, part: PartReport): string {
  const fixed = (values: PartReport["mean"]) => values.map((v) => v?.toFixed(4) ?? "-").join(", ");
  const classes = Object.entries(part.classes);
  const sizes = Object.entries(part.sizes);
  const more = sizes.length > 5 ? `, and ${sizes.length - 5} other sizes` : "";
  return [
    `${name}: ${part.images} images, ${classes.length} classes, ${part.brokenCount} broken`,
    ...classes.map(([folder, count]) => `  ${folder.padEnd(24)} ${count}`),
    `  sizes  ${sizes
      .slice(0, 5)
      .map(([size, count]) => `${size} (${count})`)
      .join(", ")}${more}`,
    `  mean   ${fixed(part.mean)}`,
    `  std    ${fixed(part.std)}`,
    ...(part.texts ? describeTexts(part.texts) : []),
    ...part.broken.slice(0, 20).map((line) => `  broken ${line}`),
  ].join("\n");
}

export const describeReport = ({ train, test, notes }: DatasetReport): string =>
  [describePart("train", train), ...(test ? [describePart("test", test)] : []), ...notes].join("\n");
