/** A model after a step beside a golden of PyTorch's. */
import { blockNames, floatsOf, type Model } from "../../src/engine/state.ts";
import { toTorch } from "../../src/nn/layout.ts";
import { relativeError, sampled } from "./helpers.ts";

/** A bias before a batch norm has no gradient, and some means are 0: what PyTorch has there is float64's rounding. */
function errorOf(got: Float32Array, expected: Float32Array): number {
  const isZero = expected.every((v) => Math.abs(v) < 1e-9);
  return isZero ? Math.max(...got.map(Math.abs)) : relativeError(got, expected);
}

/** Relative errors of every gradient, and of every parameter and statistic of the networks: `online.`, and `target.` of a follower. */
export function networkErrors(
  { networks, state, buffers }: Model,
  theirs: (name: string) => Float32Array,
): [name: string, error: number][] {
  const errors: [string, number][] = [];
  const compare = (prefix: string, network: string, of: "params" | "stats", values: Float32Array) => {
    const layout = networks.get(network)[of];
    for (const entry of prefix === "grad." ? layout.trainable : layout.entries) {
      const { name, offset, size } = entry;
      const got = sampled(toTorch(entry, values.subarray(offset, offset + size)));
      errors.push([prefix + name, errorOf(got, theirs(prefix + name))]);
    }
  };
  compare("grad.", networks.trained, "params", buffers.gradient);
  for (const network of networks.names) {
    const prefix = network === networks.trained ? "online." : "target.";
    compare(prefix, network, "params", floatsOf(state, blockNames.params(network)));
    compare(prefix, network, "stats", floatsOf(state, blockNames.stats(network)));
  }
  return errors;
}
