/**
 * ResNet (He et al. 2016) with torchvision's names.
 * N batch, HW side, C channels; images [N,HW,HW,C], channels innermost.
 */
import type { ResnetSpec } from "../../schema/encoder.ts";
import type { Ops } from "../ops.ts";

export const resnets = {
  resnet10: { blocks: [1, 1, 1, 1], expansion: 1 },
  resnet18: { blocks: [2, 2, 2, 2], expansion: 1 },
  resnet34: { blocks: [3, 4, 6, 3], expansion: 1 },
  resnet50: { blocks: [3, 4, 6, 3], expansion: 4 },
} as const;

/** Dimension of the features: the channels of the last stage. */
export const resnetFeatures = ({ arch, width }: ResnetSpec): number => width * 8 * resnets[arch].expansion;

/** images [N,HW,HW,channels] -> [N,features] */
export function resnet<T>(ops: Ops<T>, spec: ResnetSpec, channels: number, images: T): T {
  const { blocks, expansion } = resnets[spec.arch];
  const { zeroInit } = spec;
  const small = spec.stem === "cifar";

  const conv = (name: string, x: T, size: number, from: number, to: number, stride: number) =>
    ops.conv(name, x, { size, from, to, stride });
  const shortcut = (name: string, x: T, from: number, to: number, stride: number): T =>
    from === to && stride === 1
      ? x
      : ops.norm(`${name}.downsample.1`, conv(`${name}.downsample.0`, x, 1, from, to, stride), { channels: to });

  const basic = (name: string, x: T, from: number, width: number, stride: number): T => {
    const first = ops.norm(`${name}.bn1`, conv(`${name}.conv1`, x, 3, from, width, stride), {
      channels: width,
      relu: true,
    });
    const residual = () => shortcut(name, x, from, width, stride);
    const second = conv(`${name}.conv2`, first, 3, width, width, 1);
    return ops.norm(`${name}.bn2`, second, { channels: width, relu: true, residual, zeroInit });
  };

  const bottleneck = (name: string, x: T, from: number, width: number, stride: number): T => {
    const narrow = { channels: width, relu: true };
    const first = ops.norm(`${name}.bn1`, conv(`${name}.conv1`, x, 1, from, width, 1), narrow);
    const second = ops.norm(`${name}.bn2`, conv(`${name}.conv2`, first, 3, width, width, stride), narrow);
    const third = conv(`${name}.conv3`, second, 1, width, width * 4, 1);
    const residual = () => shortcut(name, x, from, width * 4, stride);
    return ops.norm(`${name}.bn3`, third, { channels: width * 4, relu: true, residual, zeroInit });
  };

  let x = ops.stem(images, (input) => {
    const stem = conv("conv1", input, small ? 3 : 7, channels, spec.width, small ? 1 : 2);
    const first = ops.norm("bn1", stem, { channels: spec.width, relu: true });
    return small ? first : ops.maxPool(first);
  });
  let from = spec.width;
  blocks.forEach((count, stage) => {
    const width = spec.width * 2 ** stage;
    for (let i = 0; i < count; i++) {
      const stride = stage > 0 && i === 0 ? 2 : 1;
      const [name, input] = [`layer${stage + 1}.${i}`, from];
      x = ops.block(x, (inner) => (expansion === 4 ? bottleneck : basic)(name, inner, input, width, stride));
      from = width * expansion;
    }
  });
  return ops.meanPlaces(x); // [N,HW,HW,C] -> [N,C]
}
