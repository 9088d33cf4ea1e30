import { BullMQOtel } from "bullmq-otel";
import { VERSION } from "../util/version.ts";

/** Traces every queue and worker of BullMQ. Costs almost nothing unless an exporter is started (util/telemetry.ts). */
export const telemetry = new BullMQOtel({ tracerName: "mocod", version: VERSION });
