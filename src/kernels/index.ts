/** Opens a device and puts our kernels under tfjs. To add a kernel: one folder, one line here. */
import "@tensorflow/tfjs-core/dist/register_all_gradients";
import "./batch_norm/index.ts";
import { openWasm } from "../backend/wasm.ts";
import { registerAttentionWasm } from "./attention/wasm.ts";
import { registerBatchNormWasm } from "./batch_norm/wasm.ts";
import { registerConv2dWasm } from "./conv2d/wasm.ts";
import { registerEmbeddingWasm } from "./embedding/wasm.ts";
import { registerIdentityWasm } from "./identity/wasm.ts";
import { registerInfoNceWasm } from "./info_nce/wasm.ts";
import { registerLayerNormWasm } from "./layer_norm/wasm.ts";
import { registerLinearWasm } from "./linear/wasm.ts";
import { registerMatMulWasm } from "./mat_mul/wasm.ts";
import { registerMaxPoolWasm } from "./max_pool/wasm.ts";
import { registerMeanPlacesWasm } from "./mean_places/wasm.ts";
import { registerPatchesWasm } from "./patches/wasm.ts";
import { registerScaleRowsWasm } from "./scale_rows/wasm.ts";
import { registerTokensWasm } from "./tokens/wasm.ts";
import { buildKernels, modulePath } from "./wasm/build.ts";

let ready: Promise<void> | undefined;

/** Compiles what is stale, opens WASM in this thread, registers every kernel. Idempotent. */
export function openDevice(): Promise<void> {
  ready ??= open();
  return ready;
}

async function open(): Promise<void> {
  await buildKernels();
  await openWasm(await WebAssembly.compile(await Bun.file(modulePath).arrayBuffer()));
  registerAttentionWasm();
  registerConv2dWasm();
  registerBatchNormWasm();
  registerEmbeddingWasm();
  registerIdentityWasm();
  registerInfoNceWasm();
  registerLayerNormWasm();
  registerLinearWasm();
  registerMatMulWasm();
  registerMaxPoolWasm();
  registerMeanPlacesWasm();
  registerPatchesWasm();
  registerScaleRowsWasm();
  registerTokensWasm();
}
