import { type Flat, launchFlat, type UpdateSettings } from "../flat.ts";

/** `sgd` of index.ts over all parameters. */
export function launchSgd(flat: Flat, settings: UpdateSettings): void {
  launchFlat(
    "SGD",
    flat,
    settings,
    "let v = its.momentumF * first[i] + g + decay * p; first[i] = v; params[i] = p - lr * v;",
  );
}
