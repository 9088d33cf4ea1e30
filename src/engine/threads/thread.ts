/** Entry point of a thread: messages in, one answer for each. */
import { Shard } from "./shard.ts";
import type { ShardInit, Task } from "./tasks.ts";

declare const self: Worker;

let shard: Shard | undefined;

self.onmessage = async ({ data }: MessageEvent<{ init: ShardInit } | { task: Task }>) => {
  try {
    if ("init" in data) {
      shard = await Shard.open(data.init);
      self.postMessage({ done: undefined });
    } else {
      self.postMessage({ done: (shard as Shard).run(data.task) });
    }
  } catch (error) {
    self.postMessage({ failed: error instanceof Error ? (error.stack ?? error.message) : String(error) });
  }
};
