/** The export job: an encoder of a run as a file for others. Nothing is computed. */

import { exportCheckpoint } from "../exchange/export.ts";
import type { ExportSpec } from "../schema/evaluation.ts";
import { sha256 } from "../store/files.ts";
import type { Outcome } from "../train/reporter.ts";
import { checkpointOf, type EvaluationContext } from "./context.ts";

export interface ExportJobResult {
  /** In the job's folder: the main file. */
  file: string;
  /** All of them, the main one first: a method on pairs has a tower for texts, and a tokenizer. */
  files: readonly string[];
  format: ExportSpec["format"];
  /** Of the main file. */
  bytes: number;
  sha256: string;
  /** Steps that the encoder was trained for. */
  step: number;
}

export async function exportEncoder(spec: ExportSpec, context: EvaluationContext): Promise<Outcome<ExportJobResult>> {
  const { source, own, pretrained } = context;
  const { format } = spec;
  await own.tidy(-1);
  const { record, bytes } = await checkpointOf(spec.checkpoint, context);
  const made = exportCheckpoint(bytes, record.file, pretrained, format, spec.encoder);
  const files: string[] = [];
  for (const { suffix, bytes: content } of made) files.push(await own.writeFile(source.id + suffix, content));
  const [{ suffix, bytes: main }] = made;
  const file = source.id + suffix;
  return { result: { file, files, format, bytes: main.length, sha256: sha256(main), step: record.step } };
}
