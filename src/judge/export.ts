/** The export job: an encoder of a run as a file for others. Nothing is computed. */

import { exportCheckpoint, exportedName } from "../exchange/export.ts";
import type { ExportSpec } from "../schema/evaluation.ts";
import { sha256 } from "../store/files.ts";
import type { Outcome } from "../train/reporter.ts";
import { checkpointOf, type EvaluationContext } from "./context.ts";

export interface ExportJobResult {
  /** In the job's folder. */
  file: string;
  format: ExportSpec["format"];
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
  const file = await own.writeFile(exportedName(source.id, format), made);
  return { result: { file, format, bytes: made.length, sha256: sha256(made), step: record.step } };
}
