/** Features in the store while they are computed: files of some rows each, named by their content. */
import { sha256 } from "../store/files.ts";
import type { RunStore } from "../store/run_store.ts";
import { decodeSafetensors, encodeSafetensors } from "../store/safetensors.ts";

export const PIECES = "pieces/";

/** Rows are written in files of about this size, so that one that is damaged or slow to write costs little. */
const PIECE_BYTES = 64 * 2 ** 20;

export interface Piece {
  readonly file: string;
  readonly sha256: string;
  readonly rows: number;
}

/** Features in memory, of which the first `rows` are computed and the first `written` are in pieces. */
interface Tracked {
  readonly features: Float32Array;
  readonly dim: number;
  rows: number;
  written: number;
}

export class Pieces {
  private readonly tracked = new Map<string, Tracked>();
  private garbage: string[] = [];

  private constructor(
    private readonly own: RunStore,
    private readonly pieces: Record<string, Piece[]>,
    private readonly log: (message: string) => void,
  ) {}

  /** Deletes the files that no checkpoint names. */
  static async open(own: RunStore, pieces: Record<string, Piece[]>, log: (message: string) => void): Promise<Pieces> {
    const opened = new Pieces(own, structuredClone(pieces), log);
    opened.garbage = (await own.names()).filter((name) => name.startsWith(PIECES));
    await opened.sweep();
    return opened;
  }

  describe(): string[] {
    return Object.entries(this.pieces).map(
      ([name, pieces]) => `${pieces.reduce((sum, { rows }) => sum + rows, 0)} rows of ${name} are stored`,
    );
  }

  stored(): Record<string, Piece[]> {
    return structuredClone(this.pieces);
  }

  /**
   * Memory for features f32[rows, dim], with the rows that pieces hold. What follows a damaged piece counts for nothing.
   *
   * @param group - Rows that are computed at once: the known ones are a multiple of it, or all.
   */
  async track(
    name: string,
    rows: number,
    dim: number,
    group: number,
  ): Promise<{ features: Float32Array; rows: number }> {
    const features = new Float32Array(rows * dim);
    const good: Piece[] = [];
    let written = 0;
    for (const piece of this.pieces[name] ?? []) {
      const values = await this.read(piece);
      if (!values || values.length !== piece.rows * dim || written + piece.rows > rows) break;
      features.set(values, written * dim);
      written += piece.rows;
      good.push(piece);
    }
    this.discard((this.pieces[name] ?? []).filter((piece) => !good.includes(piece)));
    if (good.length > 0) this.pieces[name] = good;
    else delete this.pieces[name];
    const known = written === rows ? rows : Math.floor(written / group) * group;
    this.tracked.set(name, { features, dim, rows: known, written });
    return { features, rows: known };
  }

  /** Notes that the first `rows` are computed. */
  reach(name: string, rows: number): void {
    const tracked = this.tracked.get(name);
    if (tracked) tracked.rows = rows;
  }

  /** Writes what is computed and not written yet. */
  async flush(): Promise<void> {
    for (const [name, tracked] of this.tracked) {
      const { features, dim } = tracked;
      const most = Math.max(1, Math.floor(PIECE_BYTES / (4 * dim)));
      while (tracked.written < tracked.rows) {
        const from = tracked.written;
        const to = Math.min(from + most, tracked.rows);
        const data = features.subarray(from * dim, to * dim);
        const bytes = encodeSafetensors(new Map([["features", { shape: [to - from, dim], data }]]), { name });
        const sum = sha256(bytes);
        const file = await this.own.writeFile(`${PIECES}${sum.slice(0, 32)}.safetensors`, bytes);
        this.pieces[name] = [...(this.pieces[name] ?? []), { file, sha256: sum, rows: to - from }];
        tracked.written = to;
      }
    }
  }

  /** Forgets features; `sweep` deletes their files. */
  drop(isDropped: (name: string) => boolean): void {
    for (const name of this.tracked.keys()) if (isDropped(name)) this.tracked.delete(name);
    for (const [name, pieces] of Object.entries(this.pieces)) {
      if (!isDropped(name)) continue;
      this.discard(pieces);
      delete this.pieces[name];
    }
  }

  /** Deletes the files of what was dropped: after the checkpoint that does without them. */
  async sweep(): Promise<void> {
    const used = new Set(Object.values(this.pieces).flatMap((pieces) => pieces.map(({ file }) => file)));
    for (const file of this.garbage.splice(0)) if (!used.has(file)) await this.own.removeFile(file);
  }

  private discard(pieces: readonly Piece[]): void {
    this.garbage.push(...pieces.map(({ file }) => file));
  }

  private async read({ file, sha256: sum }: Piece): Promise<Float32Array | undefined> {
    const bytes = await this.own.read(file);
    if (bytes && sha256(bytes) === sum)
      return decodeSafetensors(bytes, file).tensors.get("features")?.data as Float32Array;
    this.log(`${this.own.path}/${file}: ${bytes ? "wrong checksum" : "is missing"}, computing its rows again`);
    return undefined;
  }
}
