/** What the presets set, by preset and method. A method's own are in its schema. */
import { type PresetName, presetNames } from "./methods/method.ts";
import { type MethodName, methodNames, type PretrainSpec, schemaOf } from "./pretrain.ts";

export type { PresetName } from "./methods/method.ts";
export { presetNames } from "./methods/method.ts";

type Preset = Omit<PretrainSpec, "dataset">;

/** What a preset sets for a method, and for an encoder where the method has settings of its own for that one. */
export function presetFor(preset: PresetName, method: MethodName, arch: unknown): Preset {
  const variant = typeof arch === "string" ? schemaOf(method).variants?.[preset]?.[arch] : undefined;
  return (variant as Preset | undefined) ?? presets[preset][method];
}

export const presets = Object.fromEntries(
  presetNames.map((preset) => [
    preset,
    Object.fromEntries(methodNames.map((method) => [method, schemaOf(method).presets[preset][method]])),
  ]),
) as Record<(typeof presetNames)[number], Record<MethodName, Preset>>;
