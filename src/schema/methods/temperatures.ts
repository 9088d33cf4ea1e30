/** The temperature of a contrastive loss. */
import { z } from "zod";

export const temperatures = {
  temperature: z.number().gt(0).max(10).describe("T, by which cosines are divided"),
  finalTemperature: z
    .number()
    .gt(0)
    .max(10)
    .optional()
    .describe("T moves to it over the run by half a cosine; unset: it is constant"),
} as const;
