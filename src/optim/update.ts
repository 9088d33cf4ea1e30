/** One step of any optimiser on WebGPU. To add one: its `webgpu.ts`, one line here. */
import { launchAdamw } from "./adamw/webgpu.ts";
import type { Flat, Segments, UpdateSettings } from "./flat.ts";
import { launchLars } from "./lars/webgpu.ts";
import { launchSgd } from "./sgd/webgpu.ts";

export function launchUpdate(flat: Flat, segments: Segments, settings: UpdateSettings): void {
  const launches: Record<UpdateSettings["algorithm"], () => void> = {
    sgd: () => launchSgd(flat, settings),
    lars: () => launchLars(flat, segments, settings),
    adamw: () => launchAdamw(flat, settings),
  };
  launches[settings.algorithm]();
}
