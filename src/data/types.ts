/** Of one value of a decoded image: 1, 0 to 255; or 2, 0 to 65,535, the lower byte first. */
export type ValueBytes = 1 | 2;

interface ImageSet {
  /** i32[count], or undefined where the images have no classes. */
  readonly labels: Int32Array | undefined;
  /** By image, each one or more in NFC, none of them empty. Unset where none were asked for. */
  readonly texts?: readonly (readonly string[])[] | undefined;
  readonly count: number;
  readonly channels: number;
  /** Unset: 1. */
  readonly valueBytes?: ValueBytes;
}

/** Decoded images of one size. `pixels` is shared memory, so that every thread reads the same bytes. */
export interface HeldImages extends ImageSet {
  /** u8[count, height, width, channels], or the bytes of u16. */
  readonly pixels: Uint8Array<SharedArrayBuffer>;
  readonly height: number;
  readonly width: number;
}

/** u8[height, width, channels], or the bytes of u16. */
export interface Decoded {
  readonly pixels: Uint8Array;
  readonly height: number;
  readonly width: number;
  /** The image that stands in for a damaged one. Unset: they are those of the image that was asked for. */
  readonly standIn?: number;
}

/** u8[height, width, channels], of a format that sharp does not read itself. */
export interface RawImage {
  readonly data: Uint8Array;
  readonly width: number;
  readonly height: number;
  readonly channels: 1 | 3 | 4;
}

/** Images of any size in files, decoded when they are needed: what does not fit into memory. */
export interface FiledImages extends ImageSet {
  /** Bytes of the largest decoded image. */
  readonly slotBytes: number;
  /** Safe to call many times at once. Never rejects for a damaged image: another one stands in for it. */
  decode(index: number): Promise<Decoded>;
}

export type Images = HeldImages | FiledImages;

/** Bytes of one pixel in memory. */
export const pixelBytes = ({ channels, valueBytes = 1 }: { channels: number; valueBytes?: ValueBytes | undefined }) =>
  channels * valueBytes;

/** The values of pixels. */
export const levelsOf = (
  { pixels }: { readonly pixels: Uint8Array },
  valueBytes: ValueBytes = 1,
): Uint8Array | Uint16Array =>
  valueBytes === 1 ? pixels : new Uint16Array(pixels.buffer, pixels.byteOffset, pixels.byteLength / 2);
/** The other way round: pixels of values. */
export const bytesOf = ({ buffer, byteOffset, byteLength }: Uint8Array | Uint16Array): Uint8Array =>
  new Uint8Array(buffer, byteOffset, byteLength);

export const levelsIn = (images: HeldImages): Uint8Array | Uint16Array => levelsOf(images, images.valueBytes);

export const isHeld = (images: Images): images is HeldImages => "pixels" in images;

export interface Dataset<I extends Images = Images> {
  readonly name: string;
  readonly train: I;
  /** Undefined where none was given. */
  readonly test: I | undefined;
  readonly classes: readonly string[];
  /** Per channel, in [0, 1]. */
  readonly mean: readonly number[];
  readonly std: readonly number[];
  /** Images that could not be read and were left out. */
  readonly skipped: number;
  /** What a person should hear of how it was read: parts that were found, files that are left out. */
  readonly notes?: readonly string[];
}

/** Objects below a prefix. Whoever makes one repeats requests that fail, and throws UnreachableError after that. */
export interface Bucket {
  /** Keys from behind the prefix on, each with its ETag, which is another one when the object is. */
  readonly list: () => Promise<ReadonlyMap<string, string>>;
  /** Undefined where there is no such object. */
  readonly read: (key: string) => Promise<Uint8Array | undefined>;
}

/** What a loader may use. */
export interface DataContext {
  /** Folder for downloads. */
  readonly cache: string;
  /** Bytes that copies and unpacked archives may take there; unset: any number. */
  readonly cacheLimit?: number | undefined;
  readonly log: (message: string) => void;
  /** Folders that a dataset's paths must lie in; undefined: anywhere. */
  readonly roots?: readonly string[] | undefined;
  /** Finds the file of an uploaded dataset, and fetches it where it is not on this machine. Unset: there are none. */
  readonly stored?: ((id: string) => Promise<string>) | undefined;
  /** Opens `s3://bucket/prefix`. Unset: buckets are not read. */
  readonly bucket?: ((url: string) => Bucket) | undefined;
  /** Called now and then while work goes on: whoever waits for a step knows that nothing hangs. */
  readonly alive?: () => void;
}

export function sharedBytes(length: number): Uint8Array<SharedArrayBuffer> {
  return new Uint8Array(new SharedArrayBuffer(length));
}
