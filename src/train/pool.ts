/** The threads of a run, driven in lockstep: a task goes to all of them, and is over when all have answered. */
import type { ShardInit, Task } from "./tasks.ts";

type Answer = { done: number | undefined } | { failed: string };

export class Pool {
  private constructor(
    private readonly workers: Worker[],
    private readonly counter: Int32Array,
  ) {}

  static async open(init: Omit<ShardInit, "thread">): Promise<Pool> {
    const workers = Array.from(
      { length: init.threads },
      () => new Worker(new URL("./thread.ts", import.meta.url).href, { type: "module" }),
    );
    const pool = new Pool(workers, init.buffers.counter);
    await pool.ask((thread) => ({ init: { ...init, thread } }));
    return pool;
  }

  /** Runs one task on every thread; `first` is the first split or chunk to take. Rejects with a thread's error. */
  run(task: Task, first = 0): Promise<(number | undefined)[]> {
    Atomics.store(this.counter, 0, first);
    return this.ask(() => ({ task }));
  }

  close(): void {
    for (const worker of this.workers) worker.terminate();
  }

  private ask(message: (thread: number) => unknown): Promise<(number | undefined)[]> {
    return Promise.all(
      this.workers.map(
        (worker, thread) =>
          new Promise<number | undefined>((resolve, reject) => {
            worker.onmessage = ({ data }: MessageEvent<Answer>) => {
              if ("failed" in data) reject(new Error(`thread ${thread}: ${data.failed}`));
              else resolve(data.done);
            };
            worker.onerror = (event) => reject(new Error(`thread ${thread}: ${event.message}`));
            worker.postMessage(message(thread));
          }),
      ),
    );
  }
}
