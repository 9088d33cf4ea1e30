/**
 * How long a million files take to be listed, and what memory: a folder of class folders, a tar of the same, and the tar again, whose
 * index is kept by then. Each in a process of its own. `bun bench/listing.ts [files] [folder]`; the folder (a temporary one where none is given) keeps what is made in it, if it is given.
 */
import { closeSync, existsSync, mkdirSync, mkdtempSync, openSync, rmSync, writeFileSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { listParts } from "../src/data/image_files.ts";
import { type DatasetSpec, datasetSpec, withReading } from "../src/schema/dataset.ts";
import { peakBytes } from "./peak_memory.ts";

const CLASSES = 1000;
/** In the order of their folders, as tar packs them. */
const nameOf = (i: number, count: number) =>
  `n${String(Math.floor((i * CLASSES) / count)).padStart(8, "0")}/ILSVRC2012_train_${String(i).padStart(8, "0")}.JPEG`;

function makeFolder(path: string, count: number): void {
  for (let c = 0; c < CLASSES; c++) mkdirSync(join(path, `n${String(c).padStart(8, "0")}`), { recursive: true });
  for (let i = 0; i < count; i++) writeFileSync(join(path, nameOf(i, count)), "");
}

/** Files of one byte: a header and a block each. */
function makeTar(path: string, count: number): void {
  const out = openSync(path, "w");
  const many = 1024;
  for (let from = 0; from < count; from += many) {
    const blocks = Buffer.alloc(2 * 512 * Math.min(many, count - from));
    for (let k = 0; k < blocks.length / 1024; k++) {
      const header = blocks.subarray(k * 1024, k * 1024 + 512);
      header.write(nameOf(from + k, count), 0);
      header.write("0000644\x000000000\x000000000\x0000000000001\x0000000000000\0        0", 100);
      header.write("ustar\x0000", 257);
      const sum = header.reduce((total, byte) => total + byte, 0);
      header.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148);
    }
    writeSync(out, blocks);
  }
  writeSync(out, Buffer.alloc(1024));
  closeSync(out);
}

async function measure(kind: string, path: string): Promise<void> {
  const spec = datasetSpec.parse(withReading({ kind, path })) as Extract<DatasetSpec, { kind: "folder" }>;
  const context = { cache: join(path, "..", "cache"), log: () => undefined };
  const before = peakBytes();
  const start = performance.now();
  const { train, test } = await listParts(spec, context);
  const seconds = ((performance.now() - start) / 1000).toFixed(1);
  const megabytes = Math.round((peakBytes() - before) / 1e6);
  console.log(`${kind}: ${train.length + (test?.length ?? 0)} images in ${seconds} s, at most ${megabytes} MB more`);
}

const [first = "1000000", second, third] = process.argv.slice(2);
if (first === "--measure") await measure(second as string, third as string);
else {
  const count = Number(first);
  const root = second ?? mkdtempSync(join(tmpdir(), "mocod-listing-"));
  const sources = [
    ["folder", join(root, `files-${count}`), makeFolder],
    ["archive", join(root, `files-${count}.tar`), makeTar],
  ] as const;
  for (const [kind, path, make] of sources) {
    if (!existsSync(path)) make(path, count);
    for (let turn = 0; turn < (kind === "archive" ? 2 : 1); turn++) {
      const command = [process.execPath, import.meta.path, "--measure", kind, path];
      Bun.spawnSync(command, { stdio: ["ignore", "inherit", "inherit"] });
    }
  }
  if (second === undefined) rmSync(root, { recursive: true });
}
