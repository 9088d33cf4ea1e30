import type * as tf from "@tensorflow/tfjs-core";
import { folded, launch, lineKernel, reads, writes } from "../../backend/webgpu.ts";
import { BATCH_NORM_MOMENTUM } from "./index.ts";

/**
 * running = 0.9 * running + 0.1 * mean over splits of the split's statistic, the encoder seeing one direction after the other.
 * mean, variance f32[directions * groups, C], biased; running ones f32[C]; `rows`: of one split. Where the groups are a part
 * of the splits, those of before are in `running` already unless they are the first.
 */
export function launchRunning(
  batch: { mean: tf.Tensor; variance: tf.Tensor },
  running: { mean: tf.Tensor; variance: tf.Tensor },
  of: { directions: number; groups: number; splits: number; rows: number; first: boolean },
): void {
  const { directions, groups, splits, rows, first } = of;
  const c = running.mean.size;
  const one = (name: string, factor: string) => `
  var ${name} = running_${name}[i];
  for (var direction = 0u; direction < its.directions; direction++) {
    var ${name}_sum = 0.0;
    for (var group = 0u; group < its.groups; group++) {
      ${name}_sum += ${name}s[(direction * its.groups + group) * its.c + i];
    }
    ${name} = its.keptF * ${name} + ${BATCH_NORM_MOMENTUM} * ${name}_sum / f32(its.splits)${factor};
  }
  running_${name}[i] = ${name};`;
  launch({
    name: "running statistics",
    numbers: { c, directions, groups, splits, unbiasF: rows / (rows - 1), keptF: first ? 1 - BATCH_NORM_MOMENTUM : 1 },
    bind: {
      means: reads(batch.mean),
      variances: reads(batch.variance),
      running_mean: writes(running.mean),
      running_variance: writes(running.variance),
    },
    code: lineKernel("its.c", 64, `${one("mean", "")}${one("variance", " * its.unbiasF")}`),
    groups: folded(c, 64),
  });
}
