/**
 * A process of its own for ONNX Runtime, which puts Node's Worker in place of Bun's:
 * bun onnx_run.ts MODEL INPUT SIDES..., raw f32 in (of `tokens` raw i64), raw f32 out.
 */
import { readFileSync } from "node:fs";
import { InferenceSession, Tensor } from "onnxruntime-web";

const [model, input, ...sides] = process.argv.slice(2) as [string, string, ...string[]];
const session = await InferenceSession.create(new Uint8Array(readFileSync(model)));
const raw = new Uint8Array(readFileSync(input)).buffer;
const [name = ""] = session.inputNames;
const shape = sides.map(Number);
const given =
  name === "tokens"
    ? new Tensor("int64", new BigInt64Array(raw), shape)
    : new Tensor("float32", new Float32Array(raw), shape);
const { features } = (await session.run({ [name]: given })) as Record<string, Tensor>;
if (!features) throw new Error("the model has no output `features`");
await Bun.write(Bun.stdout, (features.data as Float32Array).buffer as ArrayBuffer);
process.exit(0);
