/** What the presets set, by preset and method. A method's own are in its schema. */
import { presetNames } from "./methods/method.ts";
import { type MethodName, methodNames, type PretrainSpec, schemaOf } from "./pretrain.ts";

export type { PresetName } from "./methods/method.ts";
export { presetNames } from "./methods/method.ts";

type Preset = Omit<PretrainSpec, "dataset">;

export const presets = Object.fromEntries(
  presetNames.map((preset) => [
    preset,
    Object.fromEntries(methodNames.map((method) => [method, schemaOf(method).presets[preset][method]])),
  ]),
) as Record<(typeof presetNames)[number], Record<MethodName, Preset>>;
