/**
 * Subgroup matrices: WGSL's name for what tensor cores multiply. They are an experiment of Dawn's, which few machines have, so
 * a kernel that uses them is used only on a device that was asked first (`tune.ts`): what it computes is computed without them
 * too, and where the two differ none is used.
 */

/** What a device multiplies at once: [rows, depth] x [depth, columns]. */
export interface MatrixConfig {
  readonly rows: number;
  readonly columns: number;
  readonly depth: number;
  /** Lanes of a subgroup, the same for every subgroup. */
  readonly lanes: number;
}

/** Goes before everything else in a module. */
export const matrixHeader = `enable f16;
enable subgroups;
enable chromium_experimental_subgroup_matrix;
diagnostic(off, chromium.subgroup_matrix_uniformity);
`;

/** WGSL: the type, whose sizes are columns, then rows. */
export const subgroupMatrix = (
  kind: "left" | "right" | "result",
  type: "f16" | "f32",
  { rows, columns }: Pick<MatrixConfig, "rows" | "columns">,
): string => `subgroup_matrix_${kind}<${type}, ${columns}, ${rows}>`;

/** The configurations of float16, with sums in float32, that a device offers; none where it lacks a feature that they need. */
export function matrixConfigsOf(device: GPUDevice, info: GPUAdapterInfo): MatrixConfig[] {
  const needed = ["shader-f16", "subgroups", "chromium-experimental-subgroup-matrix"];
  const { subgroupMinSize, subgroupMaxSize } = info;
  if (!needed.every((name) => device.features.has(name)) || subgroupMinSize !== subgroupMaxSize) return [];
  const { subgroupMatrixConfigs = [] } = info as GPUAdapterInfo & {
    subgroupMatrixConfigs?: readonly {
      componentType: string;
      resultComponentType: string;
      M: number;
      N: number;
      K: number;
    }[];
  };
  return subgroupMatrixConfigs
    .filter(({ componentType, resultComponentType }) => componentType === "f16" && resultComponentType === "f32")
    .map(({ M, N, K }) => ({ rows: M, columns: N, depth: K, lanes: subgroupMaxSize }));
}
