/** The temperature of a step: constant, or moved over the run. */
import type * as tf from "@tensorflow/tfjs-core";
import { byCosine } from "../util/cosine.ts";
import type { StepValues } from "./method.ts";

/** T: a number of the spec, which a recorded step has in it, or an input of the step. */
export type Temperature = number | tf.Scalar;

interface Scheduled {
  readonly temperature: number;
  readonly finalTemperature?: number | undefined;
}

/** `schedules` of a method whose temperature may move. */
export const temperatureSchedule = ({
  temperature,
  finalTemperature,
}: Scheduled): Readonly<Record<string, (progress: number) => number>> =>
  finalTemperature === undefined
    ? {}
    : { temperature: (progress: number) => byCosine(temperature, finalTemperature, progress) };

/** T of this step. */
export const temperatureOf = ({ temperature, finalTemperature }: Scheduled, step: StepValues): Temperature =>
  finalTemperature === undefined ? temperature : step.scheduled("temperature");
