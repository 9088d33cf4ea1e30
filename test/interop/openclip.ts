/**
 * `npm run test:interop`: what we export with OpenCLIP's names loads into its layout with strict=True and gives the same features of images
 * and of texts. Needs Debian's python3-torch and python3-torchvision; with open_clip and timm it is their own model.
 */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { exportCheckpoint } from "../../src/exchange/export.ts";
import { openDevice } from "../../src/kernels/index.ts";
import { encodeNpy } from "../../src/store/npy.ts";
import { CONTEXT, DIM, featuresOf, images, lengths, pairsRun, pixels, resnet, SIDE, tokens } from "../support/pairs.ts";

const TOLERANCE = 1e-5;
const python = process.env.PYTHON ?? "/usr/bin/python3";

const runs = {
  "a ViT": {},
  "a ResNet, with the sigmoid loss": { encoder: resnet, loss: "sigmoid" },
};

await openDevice();
const folder = mkdtempSync(join(tmpdir(), "mocod-interop-"));
const file = (name: string) => join(folder, name);
let failed = 0;
try {
  writeFileSync(file("images.npy"), encodeNpy([images, SIDE, SIDE, 3], pixels));
  writeFileSync(file("tokens.npy"), encodeNpy([lengths.length, CONTEXT], tokens));
  for (const [name, more] of Object.entries(runs)) {
    const { spec, model, checkpoint } = pairsRun(more);
    const [{ bytes }] = exportCheckpoint(checkpoint, "x", spec, "openclip", "trained");
    writeFileSync(file("clip.safetensors"), bytes);
    const ours = featuresOf(model);
    writeFileSync(file("image.npy"), encodeNpy([images, DIM], ours.image));
    writeFileSync(file("text.npy"), encodeNpy([lengths.length, DIM], ours.text));
    const args = ["clip.safetensors", "images.npy", "tokens.npy", "image.npy", "text.npy"].map(file);
    const { stdout, exitCode } = Bun.spawnSync([python, join(import.meta.dir, "openclip.py"), ...args], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    const [loaded, image, text] = stdout.toString().trim().split("\n").slice(-3);
    const good = exitCode === 0 && Number(image) < TOLERANCE && Number(text) < TOLERANCE;
    if (!good) failed++;
    console.log(
      `${good ? "(pass)" : "(fail)"} ${name}: ${loaded}, relative errors ${image} of images, ${text} of texts`,
    );
  }
} finally {
  rmSync(folder, { recursive: true, force: true });
}
console.log(`${Object.keys(runs).length - failed} passed, ${failed} failed`);
process.exit(failed ? 1 : 0);
