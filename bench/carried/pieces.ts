/** A file in pieces, where a transfer takes no large ones: `name.00`, `name.01`, … */
import { readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";

/** In order; empty where there are none. */
export function piecesOf(file: string): string[] {
  const [folder, name] = [dirname(file), basename(file)];
  return readdirSync(folder)
    .filter((other) => other.startsWith(`${name}.`) && /^\d\d$/.test(other.slice(name.length + 1)))
    .sort()
    .map((other) => join(folder, other));
}

/** Writes pieces of at most `megabytes`, in the place of those that there are. */
export function writePieces(file: string, bytes: Uint8Array, megabytes: number): string[] {
  for (const old of piecesOf(file)) rmSync(old);
  const size = megabytes * 1e6;
  const count = Math.ceil(bytes.length / size);
  return Array.from({ length: count }, (_, i) => {
    const piece = `${file}.${String(i).padStart(2, "0")}`;
    writeFileSync(piece, bytes.subarray(i * size, (i + 1) * size));
    return piece;
  });
}

/** Undefined where there are none. */
export function readPieces(file: string): Uint8Array | undefined {
  const pieces = piecesOf(file);
  return pieces.length > 0 ? Buffer.concat(pieces.map((piece) => readFileSync(piece))) : undefined;
}
