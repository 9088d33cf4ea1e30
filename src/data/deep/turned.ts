/** An image as its orientation says people see it (TIFF 6.0, Orientation; the same numbers as in EXIF). */
import type { NumberImage, NumberValues } from "./types.ts";

/** Whether rows and columns change places; whether the rows, and the columns, of what then is are read from the end. */
const TURNS: Readonly<Record<number, readonly [transpose: boolean, down: boolean, across: boolean]>> = {
  2: [false, false, true],
  3: [false, true, true],
  4: [false, true, false],
  5: [true, false, false],
  6: [true, false, true],
  7: [true, true, true],
  8: [true, true, false],
};

export function turned(image: NumberImage, orientation: number): NumberImage {
  const turn = TURNS[orientation];
  if (!turn) return image;
  const { values, channels } = image;
  const [transpose, down, across] = turn;
  const [height, width] = transpose ? [image.width, image.height] : [image.height, image.width];
  const to = new (values.constructor as new (length: number) => NumberValues)(values.length);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const [row, column] = [down ? height - 1 - y : y, across ? width - 1 - x : x];
      const from = transpose ? column * image.width + row : row * image.width + column;
      for (let c = 0; c < channels; c++) {
        to[(y * width + x) * channels + c] = values[from * channels + c] as number;
      }
    }
  }
  return { ...image, values: to, height, width };
}
