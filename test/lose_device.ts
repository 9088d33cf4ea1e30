/**
 * Preloaded into a worker's children (BUN_OPTIONS): the WebGPU device of each is destroyed at its MOCOD_TEST_SUBMITS-th
 * submit, as a reset driver would. The real thing cannot be had on demand.
 */
import { globals } from "webgpu";

const { GPUAdapter, GPUQueue } = globals as unknown as {
  GPUAdapter: { prototype: GPUAdapter };
  GPUQueue: { prototype: GPUQueue };
};
let left = Number(process.env.MOCOD_TEST_SUBMITS);
let device: GPUDevice | undefined;
const { requestDevice } = GPUAdapter.prototype;
GPUAdapter.prototype.requestDevice = async function (descriptor) {
  device = await requestDevice.call(this, descriptor);
  return device;
};
const { submit } = GPUQueue.prototype;
GPUQueue.prototype.submit = function (buffers) {
  if (--left === 0) device?.destroy();
  return submit.call(this, buffers);
};
