/** One thread: takes tasks, and holds no state between them but its WASM device. */
import * as tf from "@tensorflow/tfjs-core";
import { DeviceMemoryError } from "../../backend/errors.ts";
import { takeHeapRecord } from "../../backend/heap.ts";
import { heap } from "../../backend/wasm.ts";
import { openDevice } from "../../kernels/index.ts";
import { keepingDerived } from "../../kernels/kept.ts";
import { measured, startProfile, takeProfile } from "../../kernels/profile.ts";
import { momentumUpdate } from "../../methods/moco.ts";
import { tooLarge } from "../advice.ts";
import { encoderOf, unitsOf } from "../state.ts";
import { classifySplit } from "./classify_split.ts";
import { named, type ThreadContext, tensorsOf } from "./context.ts";
import { embedChunks } from "./embed_chunks.ts";
import { encodeKeys, learnQueries } from "./moco_split.ts";
import type { Answer, ShardInit, Task } from "./tasks.ts";
import { reduceGradients, updateParams } from "./update.ts";

export class Shard {
  private constructor(private readonly context: ThreadContext) {}

  static async open(init: ShardInit): Promise<Shard> {
    await openDevice();
    const encoder = encoderOf(init.spec, init.channels);
    const size = encoder.params.size;
    const bound = (thread: number) => Math.floor((size * thread) / init.threads);
    return new Shard({
      ...init,
      encoder,
      range: { from: bound(init.thread), to: bound(init.thread + 1) },
      take(end, work) {
        for (;;) {
          const index = Atomics.add(init.buffers.counter, 0, 1);
          if (index >= end) return;
          tf.tidy(() => work(index));
        }
      },
      withParams(values, use) {
        const tensors = tensorsOf(encoder.params, values);
        try {
          keepingDerived(() => use((name) => named(tensors, name), [...tensors.values()]));
        } finally {
          tf.dispose([...tensors.values()]);
        }
      },
    });
  }

  run(task: Task): Answer {
    if (task.kind === "profile") return this.compute(task);
    try {
      return measured(`task ${task.kind}`, () => this.compute(task));
    } catch (error) {
      throw error instanceof DeviceMemoryError ? new Error(tooLarge(this.context.spec, error.message)) : error;
    }
  }

  private compute(task: Task): Answer {
    const c = this.context;
    const { state, spec } = c;
    switch (task.kind) {
      case "momentum":
        momentumUpdate(state.keyParams, state.queryParams, spec.momentum, c.range);
        return;
      case "keys":
        c.withParams(state.keyParams, (param) => c.take(unitsOf(spec), (unit) => encodeKeys(c, unit, task, param)));
        return;
      case "queries":
        c.withParams(state.queryParams, (param, all) => {
          const queue = tf.tensor2d(state.queue, [spec.queueSize, spec.dim]);
          c.take(task.to, (unit) => learnQueries(c, unit, task, param, all, queue));
          queue.dispose();
        });
        return;
      case "classify":
        c.withParams(state.queryParams, (param, all) =>
          c.take(task.to, (split) => classifySplit(c, split, task, param, all)),
        );
        return;
      case "reduce":
        reduceGradients(c, task.from, task.to);
        return;
      case "update":
        updateParams(c, task);
        return;
      case "embed":
        embedChunks(c, task);
        return;
      case "memory":
        return { tensors: tf.memory().numTensors, heap: heap().byteLength };
      case "heap":
        return takeHeapRecord();
      case "profile":
        startProfile();
        return takeProfile();
    }
  }
}
