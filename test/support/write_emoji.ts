/** Writes the emoji that a wish of JSON asks for, in a process of its own: what reads images of users has sharp refuse SVG. */
import { type Wish, writeEmoji } from "../../examples/emoji/write.ts";
import { messageOf } from "../../src/util/errors.ts";

const wish = JSON.parse(process.argv[2] as string) as Wish;
await writeEmoji(wish, () => undefined).then(
  (written) => console.log(JSON.stringify(written)),
  (error: unknown) => {
    console.error(messageOf(error));
    process.exitCode = 1;
  },
);
