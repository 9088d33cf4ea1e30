/** Which methods there are, as specs. To add one: its schema, one line here; its algorithm is in `src/methods`. */
import { mocoSchema } from "./moco.ts";

/** Every method of a pretrain job. */
export const methodSchemas = [mocoSchema] as const;
