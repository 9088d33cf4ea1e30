/** One thread: takes tasks, and holds no state between them but its WASM device and tapes that were asked to be kept. */
import * as tf from "@tensorflow/tfjs-core";
import { DeviceMemoryError } from "../../backend/errors.ts";
import { takeHeapRecord } from "../../backend/heap.ts";
import { heap } from "../../backend/wasm.ts";
import { keepingDerived } from "../../kernels/derived.ts";
import { openDevice } from "../../kernels/index.ts";
import { measured, startProfile, takeProfile } from "../../kernels/profile.ts";
import { methodOf } from "../../methods/index.ts";
import { tooLarge } from "../advice.ts";
import { blockNames, floatsOf, intsOf, Networks } from "../state.ts";
import { directionsOf, splitsMeet, unitsOf } from "../units.ts";
import { type Held, named, type Params, stateTensor, type ThreadContext, tensorsOf } from "./context.ts";
import { embedChunks, embedTextChunks } from "./embed_chunks.ts";
import { coupleRows, LearnUnits } from "./learn.ts";
import { Meeting } from "./meeting.ts";
import type { Answer, ShardInit, Task } from "./tasks.ts";
import { ThreadUnit } from "./unit.ts";
import { advanceState, follow, reduceGradients, squareGradients, updateParams } from "./update.ts";

export class Shard {
  private readonly units: LearnUnits;

  private constructor(private readonly context: ThreadContext) {
    this.units = new LearnUnits(context);
  }

  static async open(init: ShardInit): Promise<Shard> {
    await openDevice();
    const { spec, buffers, state, thread, threads, channels } = init;
    const networks = new Networks(spec, channels);
    const { size } = networks.get(networks.trained).params;
    const bound = (of: number) => Math.floor((size * of) / threads);
    const method = methodOf(spec);
    const together = splitsMeet(spec);
    const take = (end: number, work: (index: number) => void) => {
      for (;;) {
        const index = Atomics.add(buffers.counter, 0, 1);
        if (index >= end) return;
        tf.tidy(() => work(index));
      }
    };
    return new Shard({
      ...init,
      method,
      networks,
      meeting: together ? new Meeting(buffers.meeting, spec.splits, thread) : undefined,
      range: { from: bound(thread), to: bound(thread + 1) },
      take,
      takeUnits(from, end, work) {
        if (!together) return take(end, work);
        for (let unit = from + thread; unit < end; unit += spec.splits) tf.tidy(() => work(unit));
      },
      hold(names, use) {
        const maps = names.map((name) =>
          tensorsOf(networks.get(name).params, floatsOf(state, blockNames.params(name))),
        );
        const params = Object.fromEntries(
          names.map((name, i): [string, Params] => {
            const tensors = maps[i] as Map<string, tf.Tensor>;
            return [name, { param: (of) => named(tensors, of) }];
          }),
        );
        const made = new Map<string, tf.Tensor>();
        const once = (key: string, make: () => tf.Tensor) => {
          const tensor = made.get(key) ?? tf.keep(make());
          made.set(key, tensor);
          return tensor;
        };
        const held: Held = {
          params,
          ringRows(name) {
            const rows = floatsOf(state, blockNames.ring(name));
            const { length } = intsOf(state, blockNames.ringIds(name));
            return once(name, () => tf.tensor2d(rows, [length, rows.length / length]));
          },
          ringIds: (name) => once(`${name}.ids`, () => tf.tensor1d(intsOf(state, blockNames.ringIds(name)), "int32")),
          stateOf: (name) => once(`own ${name}`, () => stateTensor(init, name)),
          targetsOf(direction) {
            const { targets, batch } = buffers;
            const size = targets.length / directionsOf(spec);
            const rows = targets.subarray(direction * size, (direction + 1) * size);
            return once(`targets ${direction}`, () => tf.tensor2d(rows, [batch.length, size / batch.length]));
          },
          batchIds: () => once("batch", () => tf.tensor1d(buffers.batch, "int32")),
        };
        try {
          keepingDerived(() => use(held));
        } finally {
          tf.dispose([...maps.flatMap((map) => [...map.values()]), ...made.values()]);
        }
      },
    });
  }

  run(task: Task): Answer {
    if (task.kind === "profile") return this.compute(task);
    const { meeting, spec } = this.context;
    const compute = () => measured(`task ${task.kind}`, () => this.compute(task));
    try {
      return meeting ? meeting.run(compute) : compute();
    } catch (error) {
      throw error instanceof DeviceMemoryError ? new Error(tooLarge(spec, error.message)) : error;
    }
  }

  private compute(task: Task): Answer {
    const c = this.context;
    switch (task.kind) {
      case "follow":
        follow(c, task.network, task.m);
        return;
      case "targets": {
        const { targets } = c.method;
        if (!targets) throw new Error("this method has no targets");
        c.hold([targets.network], (held) =>
          c.takeUnits(0, unitsOf(c.spec), (index) => {
            const unit = new ThreadUnit(c, index, task, "targets", held);
            unit.scatter(targets.of(unit as never), c.buffers.targets);
          }),
        );
        return;
      }
      case "rows":
        this.units.rows(task);
        return;
      case "couple":
        if (c.thread === 0) coupleRows(c);
        return;
      case "learn":
        this.units.learn(task);
        return;
      case "reduce":
        reduceGradients(c, task.from, task.to);
        return;
      case "advance":
        if (c.thread === 0) advanceState(c);
        return;
      case "squares":
        squareGradients(c);
        return;
      case "update":
        updateParams(c, task);
        return;
      case "embed":
        embedChunks(c, task);
        return;
      case "embed texts":
        embedTextChunks(c, task);
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
