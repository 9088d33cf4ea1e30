/** Which methods there are, as specs. To add one: its schema, one line here; its algorithm is in `src/methods`. */
import { barlowTwinsSchema } from "./barlow_twins.ts";
import { byolSchema } from "./byol.ts";
import { clipSchema } from "./clip.ts";
import { clipQueueSchema } from "./clip_queue.ts";
import { mocoSchema } from "./moco.ts";
import { mocoV3Schema } from "./moco_v3.ts";
import { simclrSchema } from "./simclr.ts";
import { simsiamSchema } from "./simsiam.ts";

/** Every method of a pretrain job. */
export const methodSchemas = [
  mocoSchema,
  mocoV3Schema,
  simclrSchema,
  byolSchema,
  simsiamSchema,
  barlowTwinsSchema,
  clipSchema,
  clipQueueSchema,
] as const;

/** The method of a spec that names none. */
export const DEFAULT_METHOD = "moco-v2";
