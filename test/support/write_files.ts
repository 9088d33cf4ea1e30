/** Files of a dataset. */
import { mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";

/** Writes files below a folder: an image of `picture` for a number, else what is given. */
export async function writeFiles(
  folder: string,
  files: Record<string, number | string | Uint8Array>,
  picture: (red: number) => Promise<Uint8Array>,
): Promise<void> {
  for (const [name, content] of Object.entries(files)) {
    mkdirSync(dirname(join(folder, name)), { recursive: true });
    writeFileSync(join(folder, name), typeof content === "number" ? await picture(content) : content);
  }
}
