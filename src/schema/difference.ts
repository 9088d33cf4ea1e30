/** What a spec sets otherwise than a preset does. */
import { isRecord } from "./merge.ts";
import { type PresetName, presetFor, presetNames } from "./presets.ts";
import type { PretrainSpec } from "./pretrain.ts";

export interface Difference {
  /** Dotted path. */
  readonly field: string;
  /** In the preset; undefined: it has none. */
  readonly preset: unknown;
  readonly value: unknown;
}

/** Fields of `spec` that `base` has otherwise, lists as wholes. */
export function differences(spec: unknown, base: unknown, path: readonly string[] = []): Difference[] {
  if (isRecord(spec) && isRecord(base)) {
    return Object.entries(spec).flatMap(([name, value]) => differences(value, base[name], [...path, name]));
  }
  if (JSON.stringify(spec) === JSON.stringify(base)) return [];
  return [{ field: path.join("."), preset: base, value: spec }];
}

/** From the preset that it differs from in the fewest fields: a complete spec does not say which one it began as. */
export function fromPreset(spec: PretrainSpec): { preset: PresetName; differences: Difference[] } {
  const { dataset, ...rest } = spec;
  const { arch } = spec.encoder;
  // The preset's own encoder may be one of the named ones, with other fields than that one has by itself.
  const all = presetNames.flatMap((preset) =>
    [undefined, arch].map((asked) => ({
      preset,
      differences: differences(rest, presetFor(preset, spec.method, asked, spec.augmentation.size)),
    })),
  );
  return all.reduce((best, one) => (one.differences.length < best.differences.length ? one : best));
}
