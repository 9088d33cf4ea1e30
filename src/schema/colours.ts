/** Which augmentations images have colours for. */
import type { AugmentationSpec } from "./common.ts";

/** Whether images of so many channels are bands, jittered one by one: what is neither grey nor RGB has no hue, saturation or grey. */
export const isBands = (channels: number): boolean => channels !== 1 && channels !== 3;

/** Fields that ask for colours of images that are bands, by name below `augmentation`, with their values. */
export function colourFields({ grey, jitter }: AugmentationSpec, channels: number): [field: string, got: number][] {
  if (!isBands(channels)) return [];
  const fields: [string, number][] = [
    ["grey", grey],
    ["jitter.saturation", jitter.saturation],
    ["jitter.hue", jitter.hue],
  ];
  return fields.filter(([, got]) => got > 0);
}

/** What such a field may be. */
export const noColours = (channels: number): string =>
  `0: images of ${channels} channels are no RGB (dataset.bands chooses three); brightness and contrast are jittered channel by channel`;
