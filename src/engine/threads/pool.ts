/** The threads of a run, driven in lockstep: a task goes to all of them, and is over when all have answered. */
import type { Answer, ShardInit, Task } from "./tasks.ts";

type Reply = { done: Answer } | { failed: string };

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
  run(task: Task, first = 0): Promise<Answer[]> {
    Atomics.store(this.counter, 0, first);
    return this.ask(() => ({ task }));
  }

  close(): void {
    for (const worker of this.workers) worker.terminate();
  }

  private ask(message: (thread: number) => unknown): Promise<Answer[]> {
    return Promise.all(
      this.workers.map(
        (worker, thread) =>
          new Promise<Answer>((resolve, reject) => {
            worker.onmessage = ({ data }: MessageEvent<Reply>) => {
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
