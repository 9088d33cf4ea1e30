/** A network of a run as its checkpoint has it. */
import { Networks } from "../engine/state.ts";
import { stemOf } from "../nn/encoders/index.ts";
import type { TextTower } from "../nn/network.ts";
import type { Projection } from "../nn/onnx/index.ts";
import type { WhichEncoder } from "../schema/evaluation.ts";
import type { PretrainSpec } from "../schema/pretrain.ts";
import type { StoredTensor } from "../store/safetensors.ts";
import { FileError, UserError } from "../util/errors.ts";

/** What a network of a method on pairs has besides its encoder: the projection of images, and the tower for texts. */
export interface Pairs {
  readonly projection: Projection;
  readonly text: TextTower;
}

export class SavedNetwork {
  /** Of its images. */
  readonly channels: number;
  private readonly networks: Networks;
  private readonly name: string;

  /** @throws UserError where the method keeps no such network. */
  constructor(
    private readonly tensors: ReadonlyMap<string, StoredTensor>,
    private readonly file: string,
    spec: PretrainSpec,
    which: WhichEncoder,
  ) {
    const stem = `${stemOf(spec.encoder)}.weight`;
    const first = [...tensors].find(([name]) => name.endsWith(stem));
    if (!first) throw new FileError(file, `holds no tensor …${stem}`);
    this.channels = first[1].shape[1] as number;
    this.networks = new Networks(spec, this.channels);
    const name = which === "trained" ? this.networks.trained : this.networks.followers[0];
    if (name === undefined) {
      throw new UserError(`spec.encoder: got "average", allowed: "trained"; ${spec.method} keeps no moving average`);
    }
    this.name = name;
  }

  /** Undefined where the method is none on pairs. */
  get pairs(): Pairs | undefined {
    const { heads, text } = this.networks.specOf(this.name);
    const [first] = Object.entries(heads);
    return first && text && { projection: { name: first[0], head: first[1] }, text };
  }

  /** Tensors of some parts (`Entry.part`) by their own names, in PyTorch's layout. */
  parts(...wanted: string[]): Map<string, StoredTensor> {
    const { prefix } = this.networks.specOf(this.name);
    const { params, stats } = this.networks.get(this.name);
    const names = [...params.entries, ...stats.entries]
      .filter(({ part }) => wanted.includes(part))
      .flatMap(({ name }) =>
        name.endsWith("running_var") ? [name, name.replace("running_var", "num_batches_tracked")] : [name],
      );
    return new Map(names.map((name) => [name, this.tensor(prefix, name)]));
  }

  private tensor(prefix: string, name: string): StoredTensor {
    const tensor = this.tensors.get(prefix + name);
    if (!tensor) throw new FileError(this.file, `holds no tensor ${prefix}${name}`);
    return tensor;
  }
}
