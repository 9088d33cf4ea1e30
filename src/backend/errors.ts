/** What goes wrong with a device and may pass: on another one, or with less to do. */

/** The device has no room left. What to do about it depends on who asked: see `plan/footprint.ts`. */
export class DeviceMemoryError extends Error {
  override name = "DeviceMemoryError";
}

/** The device is gone: its driver was reset, it was unplugged, or something took too long. */
export class DeviceLostError extends Error {
  override name = "DeviceLostError";
}
