/** What the presets set, by preset and method. A method's own are in its schema. */
import { encoderBase } from "./encoder.ts";
import { type PresetName, presetNames } from "./methods/method.ts";
import { type MethodName, methodNames, type PretrainSpec, schemaOf } from "./pretrain.ts";

export type { PresetName } from "./methods/method.ts";
export { presetNames } from "./methods/method.ts";

type Preset = Omit<PretrainSpec, "dataset">;

/**
 * What a preset sets for a method where the request names this encoder and this side of the views (unset: the preset's): settings of
 * the method's own for that encoder, if it has some, and the encoder's own fields.
 */
export function presetFor(preset: PresetName, method: MethodName, arch: unknown, side?: number): Preset {
  const variant = typeof arch === "string" ? schemaOf(method).variants?.[preset]?.[arch] : undefined;
  const base = (variant as Preset | undefined) ?? presets[preset][method];
  return { ...base, encoder: encoderBase(base.encoder, arch, side ?? base.augmentation.size) };
}

export const presets = Object.fromEntries(
  presetNames.map((preset) => [
    preset,
    Object.fromEntries(methodNames.map((method) => [method, schemaOf(method).presets[preset][method]])),
  ]),
) as Record<(typeof presetNames)[number], Record<MethodName, Preset>>;
