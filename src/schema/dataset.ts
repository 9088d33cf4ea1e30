import { z } from "zod";

const path = z.string().min(1).describe("a folder or file on the worker's machine");
const images = z.int().min(16).optional().describe("use only so many training images, drawn by `seed`; unset: all");
const side = z
  .int()
  .min(8)
  .max(512)
  .describe(
    "held images: the side they are brought to, by centre crop; streamed ones: the longest that a shorter side may be",
  );
const maxSkipped = z
  .number()
  .min(0)
  .max(1)
  .default(0.01)
  .describe("share of unreadable images above which the job fails");

const access = z
  .enum(["auto", "held", "streamed"])
  .default("auto")
  .describe("held: decoded once into memory; streamed: decoded for every step anew; auto: held up to 2 GB");

const imageFiles = <K extends "folder" | "tar">(kind: K) =>
  z.strictObject({
    kind: z.literal(kind),
    path,
    test: path.optional(),
    size: side.default(32),
    access,
    maxSkipped,
    images,
  });

/** Where the images come from. To add one: a schema here, a loader in `data/`, a line in `data/index.ts`. */
export const datasetSpec = z.discriminatedUnion("kind", [
  z.strictObject({ kind: z.literal("fashion-mnist"), path: path.optional(), images }),
  z.strictObject({ kind: z.literal("cifar10"), path: path.optional(), images }),
  z.strictObject({ kind: z.literal("cifar100"), path: path.optional(), images }),
  imageFiles("folder"),
  imageFiles("tar"),
]);
export type DatasetSpec = z.infer<typeof datasetSpec>;
