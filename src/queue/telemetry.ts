import { BullMQOtel } from "bullmq-otel";
import { VERSION } from "../util/version.ts";

/** For every queue and worker of BullMQ: it costs next to nothing where no exporter is started (util/telemetry.ts). */
export const telemetry = new BullMQOtel({ tracerName: "mocod", version: VERSION });
