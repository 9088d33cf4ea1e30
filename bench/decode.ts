/**
 * Images a second out of JPEG files of 500x375, as ImageNet has them: decoded, cropped at random, 224x224, normalised. Ours and
 * torchvision's ImageFolder (Pillow, and its own decoder) in turn, with the same number of cores.
 *
 *     bun bench/decode.ts [--rounds 3] [--images 512] [--json]
 */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import sharp from "sharp";
import { inTurn, print, type Run } from "./compare.ts";

const { values: args } = parseArgs({
  options: {
    rounds: { type: "string", default: "3" },
    images: { type: "string", default: "512" },
    python: { type: "string", default: "/usr/bin/python3" },
    json: { type: "boolean", default: false },
  },
});
const [WIDTH, HEIGHT, BATCH] = [500, 375, 64];

/** Noise whose power falls with the square of its frequency, as that of photographs: JPEG takes as long for it. */
async function photograph(seed: number): Promise<Buffer> {
  const sum = new Float32Array(WIDTH * HEIGHT * 3);
  for (let octave = 0; octave < 8; octave++) {
    const [width, height] = [4 * 2 ** octave, 3 * 2 ** octave];
    const noise = Uint8Array.from(
      { length: width * height * 3 },
      (_, i) => Math.imul(i + 1 + 1e6 * octave + 1e8 * seed, 2654435761) >>> 24,
    );
    const image = sharp(noise, { raw: { width, height, channels: 3 } });
    const pixels = await image.resize(WIDTH, HEIGHT, { kernel: "cubic" }).raw().toBuffer();
    for (let i = 0; i < sum.length; i++) sum[i] = (sum[i] as number) + ((pixels[i] as number) - 128) / 2 ** octave;
  }
  const pixels = Uint8Array.from(sum, (v) => Math.max(0, Math.min(255, 128 + v)));
  return sharp(pixels, { raw: { width: WIDTH, height: HEIGHT, channels: 3 } })
    .jpeg({ quality: 90 })
    .toBuffer();
}

const folder = mkdtempSync(join(tmpdir(), "mocod-photographs-"));
mkdirSync(join(folder, "a"));
let bytes = 0;
for (let i = 0; i < Number(args.images); i++) {
  const jpeg = await photograph(i);
  bytes += jpeg.length;
  writeFileSync(join(folder, "a", `${i}.jpg`), jpeg);
}
console.error(`${args.images} files of ${(bytes / Number(args.images) / 1000).toFixed(0)} kB`);
const [mine, kept, pil, tensor] = inTurn(
  [
    { command: [process.execPath, "decode_ours.ts", folder] },
    { command: [process.execPath, "decode_ours.ts", folder, "--cache", "disk"] },
    { command: [args.python, "peers/torch_decode.py", folder] },
    { command: [args.python, "peers/torch_decode.py", folder, "--loader", "tensor"] },
  ],
  Number(args.rounds),
) as [Run, Run, Run, Run];
rmSync(folder, { recursive: true });
// Two loaders of PyTorch give their batches in pairs: the mean of all is their pace, a median is not.
const pace = ({ seconds }: Run) => (BATCH * seconds.length) / seconds.reduce((a, b) => a + b, 0);
for (const [name, theirs] of [["Pillow", pil] as const, ["torchvision.io", tensor] as const]) {
  for (const [how, own] of [["decoded", mine] as const, ["kept on disk", kept] as const]) {
    const [ours, peer] = [pace(own), pace(theirs)];
    const work = `224-pixel crops of 500x375 JPEGs, ${how}, vs ${name}`;
    print({ work, device: "wasm", threads: 2, ours, peer, ratio: ours / peer, unit: "images/s" }, args.json);
  }
}
