/** How texts become tokens. */
import { z } from "zod";

/** Texts are brought to lower case and single spaces before, as CLIP's are. */
export const tokensSpec = z.discriminatedUnion("kind", [
  z.strictObject({ kind: z.literal("bytes") }).describe("a token for each byte of UTF-8: 259 in all, nothing to train"),
  z
    .strictObject({
      kind: z.literal("bpe"),
      vocabulary: z
        .int()
        .min(300)
        .max(65_536)
        .describe(
          "tokens at the most: three special ones, 256 bytes, and pairs that the training texts have twice or more",
        ),
    })
    .describe("byte-pair encoding (Sennrich et al. 2016) over bytes, trained on the texts of the training images"),
]);
export type TokensSpec = z.infer<typeof tokensSpec>;
