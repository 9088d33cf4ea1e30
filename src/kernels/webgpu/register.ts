/** Puts our kernels under tfjs's WebGPU backend, beside tfjs's own. To add one: its folder, one line here. */
import "@tensorflow/tfjs-backend-webgpu/dist/register_all_kernels";
import "@tensorflow/tfjs-core/dist/register_all_gradients";
import { registerAddWebgpu } from "../add/webgpu.ts";
import { registerAttentionWebgpu } from "../attention/webgpu.ts";
import { registerAugmentWebgpu } from "../augment/webgpu.ts";
import { registerBatchNormWebgpu } from "../batch_norm/webgpu.ts";
import { registerConv2dWebgpu } from "../conv2d/webgpu.ts";
import { registerEmbeddingWebgpu } from "../embedding/webgpu.ts";
import { registerInfoNceWebgpu } from "../info_nce/webgpu.ts";
import { registerLayerNormWebgpu } from "../layer_norm/webgpu.ts";
import { registerLinearWebgpu } from "../linear/webgpu.ts";
import { registerMatMulWebgpu } from "../mat_mul/webgpu.ts";
import { registerMaxPoolWebgpu } from "../max_pool/webgpu.ts";
import { registerMeanPlacesWebgpu } from "../mean_places/webgpu.ts";
import { registerPatchesWebgpu } from "../patches/webgpu.ts";
import { registerScaleRowsWebgpu } from "../scale_rows/webgpu.ts";
import { registerTokensWebgpu } from "../tokens/webgpu.ts";
import "../batch_norm/index.ts";
import "../info_nce/index.ts";
import "../max_pool/index.ts";
import "../mean_places/index.ts";

let done = false;

/** Idempotent. The kernels look the device up when they run. */
export function registerWebgpuKernels(): void {
  if (done) return;
  done = true;
  registerAddWebgpu();
  registerAttentionWebgpu();
  registerAugmentWebgpu();
  registerBatchNormWebgpu();
  registerConv2dWebgpu();
  registerEmbeddingWebgpu();
  registerInfoNceWebgpu();
  registerLayerNormWebgpu();
  registerLinearWebgpu();
  registerMatMulWebgpu();
  registerMaxPoolWebgpu();
  registerMeanPlacesWebgpu();
  registerPatchesWebgpu();
  registerScaleRowsWebgpu();
  registerTokensWebgpu();
}
