import { z } from "zod";

const path = z.string().min(1).describe("a folder or file on the worker's machine");
const images = z.int().min(16).optional().describe("use only so many training images, drawn by `seed`; unset: all");
const side = z
  .int()
  .min(8)
  .max(512)
  .describe("side in pixels that every image is brought to: shorter side, centre crop");
const maxSkipped = z
  .number()
  .min(0)
  .max(1)
  .default(0.01)
  .describe("share of unreadable images above which the job fails");

/** Where the images come from. To add one: a schema here, a loader in `data/`, a line in `data/index.ts`. */
export const datasetSpec = z.discriminatedUnion("kind", [
  z.strictObject({ kind: z.literal("fashion-mnist"), path: path.optional(), images }),
  z.strictObject({ kind: z.literal("cifar10"), path: path.optional(), images }),
  z.strictObject({ kind: z.literal("cifar100"), path: path.optional(), images }),
  z.strictObject({
    kind: z.literal("folder"),
    path,
    test: path.optional(),
    size: side.default(32),
    maxSkipped,
    images,
  }),
  z.strictObject({ kind: z.literal("tar"), path, test: path.optional(), size: side.default(32), maxSkipped, images }),
]);
export type DatasetSpec = z.infer<typeof datasetSpec>;
