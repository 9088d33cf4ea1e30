/** Which methods there are. To add one: its file, one line here; its schema is in `src/schema/methods`. */
import type { CommonSpec } from "../schema/common.ts";
import type { TrainSpec } from "../schema/pretrain.ts";
import { barlowTwins } from "./barlow_twins.ts";
import { byol } from "./byol.ts";
import { clip } from "./clip.ts";
import { clipQueue } from "./clip_queue.ts";
import type { Method } from "./method.ts";
import { moco } from "./moco.ts";
import { mocoV3 } from "./moco_v3.ts";
import { simclr } from "./simclr.ts";
import { simsiam } from "./simsiam.ts";
import { supervised } from "./supervised.ts";

/** A method that any spec of its own name can be given to. */
export type AnyMethod = Method<CommonSpec>;

const methods = {
  "moco-v1": moco,
  "moco-v2": moco,
  "moco-v3": mocoV3,
  simclr,
  byol,
  simsiam,
  "barlow-twins": barlowTwins,
  clip,
  "clip-queue": clipQueue,
  supervised,
} satisfies { [Name in TrainSpec["method"]]: Method<Extract<TrainSpec, { method: Name }>> };

export const methodOf = ({ method }: TrainSpec): AnyMethod => methods[method] as unknown as AnyMethod;
