/** manifest.json of a finished run: the checksums of its files. */
import { FileError } from "../util/errors.ts";
import { sha256 } from "./files.ts";

export interface Manifest {
  readonly files: Record<string, { sha256: string; bytes: number }>;
}

/** The files of a run. */
interface Files {
  readonly path: string;
  names(): Promise<string[]>;
  read(name: string): Promise<Uint8Array | undefined>;
  readJson<T>(name: string): Promise<T | undefined>;
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

/** Reads the result of a run whose files are all there, whether or not its job says that it has succeeded. */
export async function finishedResult(
  run: Files,
  log: (message: string) => void,
): Promise<{ result: unknown } | undefined> {
  try {
    const manifest = await run.readJson<Manifest>("manifest.json");
    if (!manifest) return undefined;
    for (const [name, { sha256: sum }] of Object.entries(manifest.files)) {
      const bytes = await run.read(name);
      if (bytes && sha256(bytes) === sum) continue;
      log(`${run.path}/${name}: ${bytes ? "wrong checksum" : "is missing"}, computing it again`);
      return undefined;
    }
    return { result: await run.readJson("result.json") };
  } catch (error) {
    if (!(error instanceof FileError)) throw error;
    log(`${error.message}, computing it again`);
    return undefined;
  }
}
