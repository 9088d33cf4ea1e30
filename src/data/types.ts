/** Decoded images of one size. `pixels` is shared memory, so that every thread reads the same bytes. */
export interface Images {
  /** u8[count, height, width, channels] */
  readonly pixels: Uint8Array<SharedArrayBuffer>;
  /** i32[count], or undefined where the images have no classes. */
  readonly labels: Int32Array | undefined;
  readonly count: number;
  readonly height: number;
  readonly width: number;
  readonly channels: number;
}

export interface Dataset {
  readonly name: string;
  readonly train: Images;
  /** Undefined where none was given. */
  readonly test: Images | undefined;
  readonly classes: readonly string[];
  /** Per channel, in [0, 1]. */
  readonly mean: readonly number[];
  readonly std: readonly number[];
  /** Images that could not be read and were left out. */
  readonly skipped: number;
}

/** What a loader may use. */
export interface DataContext {
  /** Folder for downloads. */
  readonly cache: string;
  readonly log: (message: string) => void;
}

export function sharedBytes(length: number): Uint8Array<SharedArrayBuffer> {
  return new Uint8Array(new SharedArrayBuffer(length));
}
