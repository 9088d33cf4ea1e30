/** Where the texts of an image are. */
export interface TextSource {
  /** As they are written: of any form, and possibly empty. Throws Error for a file that is none of texts. */
  read(): Promise<readonly string[]>;
}

/** A file that has its part and its class. */
export interface ImageFile {
  readonly name: string;
  /** Undefined where nothing says it. */
  readonly className: string | undefined;
  read(): Promise<Buffer>;
  /** What changes when its bytes do; undefined: nothing tells. */
  version(): Promise<string | undefined>;
  /** Unset where there are none, or none were asked for. */
  readonly texts?: TextSource | undefined;
}

/** One that is read as another one is. */
export class Listed implements ImageFile {
  constructor(
    readonly name: string,
    readonly className: string | undefined,
    private readonly from: Pick<ImageFile, "read" | "version">,
    readonly texts?: TextSource | undefined,
  ) {}

  read(): Promise<Buffer> {
    return this.from.read();
  }

  version(): Promise<string | undefined> {
    return this.from.version();
  }
}
