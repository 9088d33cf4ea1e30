/** OpenTelemetry: where an endpoint is given, a job is one trace, from its submission to the worker that takes it. */
import { OTLPTraceExporter } from "@opentelemetry/exporter-trace-otlp-http";
import { resourceFromAttributes } from "@opentelemetry/resources";
import { BatchSpanProcessor, NodeTracerProvider } from "@opentelemetry/sdk-trace-node";
import { VERSION } from "./version.ts";

/**
 * Starts to export spans if OTEL_EXPORTER_OTLP_ENDPOINT (or …_TRACES_ENDPOINT) is set, by OpenTelemetry's own variables.
 * Returns what sends the last ones.
 */
export function startTelemetry(service: string): () => Promise<void> {
  const { OTEL_EXPORTER_OTLP_ENDPOINT: all, OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: traces } = process.env;
  if (!all && !traces) return async () => undefined;
  const name = process.env.OTEL_SERVICE_NAME ?? service;
  const provider = new NodeTracerProvider({
    resource: resourceFromAttributes({ "service.name": name, "service.version": VERSION }),
    spanProcessors: [new BatchSpanProcessor(new OTLPTraceExporter())],
  });
  provider.register();
  return () => provider.shutdown();
}
