/** A file that has its part and its class. */
export interface ImageFile {
  readonly name: string;
  /** Undefined where nothing says it. */
  readonly className: string | undefined;
  read(): Promise<Buffer>;
}

/** One that is read as another one is. */
export class Listed implements ImageFile {
  constructor(
    readonly name: string,
    readonly className: string | undefined,
    private readonly from: { read(): Promise<Buffer> },
  ) {}

  read(): Promise<Buffer> {
    return this.from.read();
  }
}
