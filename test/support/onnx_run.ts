/**
 * A process of its own for ONNX Runtime, which puts Node's Worker in place of Bun's:
 * bun onnx_run.ts MODEL INPUT N C H W, raw f32 in, raw f32 out.
 */
import { readFileSync } from "node:fs";
import { InferenceSession, Tensor } from "onnxruntime-web";

const [model, input, ...sides] = process.argv.slice(2) as [string, string, ...string[]];
const session = await InferenceSession.create(new Uint8Array(readFileSync(model)));
const images = new Tensor("float32", new Float32Array(new Uint8Array(readFileSync(input)).buffer), sides.map(Number));
const { features } = (await session.run({ images })) as Record<string, Tensor>;
if (!features) throw new Error("the model has no output `features`");
await Bun.write(Bun.stdout, (features.data as Float32Array).buffer as ArrayBuffer);
process.exit(0);
