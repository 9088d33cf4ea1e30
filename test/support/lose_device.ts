/**
 * Preloaded into a worker's children (BUN_OPTIONS): the WebGPU device is destroyed at a submit, as a reset driver would.
 * MOCOD_TEST_SUBMITS=30,2: the first at the thirtieth, those after it at the second; MOCOD_TEST_LOST is a file that tells them.
 * The real thing cannot be had on demand.
 */
import { existsSync, writeFileSync } from "node:fs";
import { globals } from "webgpu";

const { GPUAdapter, GPUQueue } = globals as unknown as {
  GPUAdapter: { prototype: GPUAdapter };
  GPUQueue: { prototype: GPUQueue };
};
const { MOCOD_TEST_SUBMITS = "", MOCOD_TEST_LOST = "" } = process.env;
const [first, later] = MOCOD_TEST_SUBMITS.split(",").map(Number) as [number, number];
let left = existsSync(MOCOD_TEST_LOST) ? later : first;
let device: GPUDevice | undefined;
const { requestDevice } = GPUAdapter.prototype;
GPUAdapter.prototype.requestDevice = async function (descriptor) {
  device = await requestDevice.call(this, descriptor);
  return device;
};
const { submit } = GPUQueue.prototype;
GPUQueue.prototype.submit = function (buffers) {
  if (--left === 0) {
    writeFileSync(MOCOD_TEST_LOST, "");
    device?.destroy();
  }
  return submit.call(this, buffers);
};
