/** Supervised training, which is what the fine-tune job does. It has no preset: a job's own settings make its spec. */
import { z } from "zod";
import { type CommonSpec, dimension } from "../common.ts";
import { learning } from "../verdict.ts";
import { methodSchema } from "./method.ts";

const shape = {
  method: z.literal("supervised"),
  dim: dimension.describe("number of classes"),
  layerDecay: z.number().min(0).max(1).describe("factor of the rate for each stage below the classifier"),
};
export type SupervisedSpec = CommonSpec & z.infer<z.ZodObject<typeof shape>>;

export const supervisedSchema = methodSchema<typeof shape>({
  shape,
  paper: "",
  rules: [],
  shapes: ["dim"],
  counted: [],
  metrics: ["top1"],
  charts: [],
  lint: [],
  judge: (_, e) => learning(e, `loss ${e.loss.toFixed(2)}`),
  presets: { imagenet: {}, cifar: {}, small: {} },
});
