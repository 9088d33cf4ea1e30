import sharp, { type Sharp } from "sharp";
import { opened } from "./pixels.ts";

/**
 * As `opened`, for an image that is going to be resized: without alpha from the beginning. sharp removes alpha after it has resized,
 * and weighs colours by alpha when it resizes, so what is transparent would lose its colours. Pillow's `convert("RGB")`, which
 * torchvision calls first, keeps them.
 */
export async function openedOpaque(bytes: Buffer): Promise<Sharp> {
  const image = opened(bytes);
  const isJpeg = bytes[0] === 0xff && bytes[1] === 0xd8;
  if (isJpeg || !(await image.metadata()).hasAlpha) return image;
  const { data, info } = await image.toColourspace("srgb").removeAlpha().raw().toBuffer({ resolveWithObject: true });
  return sharp(data, { raw: { width: info.width, height: info.height, channels: info.channels } });
}
