/** manifest.json of a finished run: the checksums of its files. */
import { sha256 } from "./files.ts";

export interface Manifest {
  readonly files: Record<string, { sha256: string; bytes: number }>;
}

/** The files of a run. */
interface Files {
  names(): Promise<string[]>;
  read(name: string): Promise<Uint8Array | undefined>;
}

/** Files without a checksum: they change after the end of a run as well. */
const WITHOUT_SUM = new Set(["job.json", "history.jsonl", "manifest.json"]);

/** Checksums of the files that `isFinal` selects. */
export async function sumsOf(run: Files, isFinal: (name: string) => boolean): Promise<Manifest["files"]> {
  const files: Manifest["files"] = {};
  for (const name of await run.names()) {
    if (WITHOUT_SUM.has(name) || !isFinal(name)) continue;
    const bytes = (await run.read(name)) as Uint8Array;
    files[name] = { sha256: sha256(bytes), bytes: bytes.length };
  }
  return files;
}

/** The first file that is missing or does not have its checksum. */
export async function damagedFile(run: Files, { files }: Manifest): Promise<string | undefined> {
  for (const [name, { sha256: sum }] of Object.entries(files)) {
    const bytes = await run.read(name);
    if (!bytes || sha256(bytes) !== sum) return name;
  }
  return undefined;
}
