import pino from "pino";

/**
 * Creates a logger: JSON lines on stderr, as stdout is for results. Synchronous, because pino's transports fail under
 * Bun.
 */
export function createLogger(name: string): pino.Logger {
  return pino({ name, level: process.env.MOCOD_LOG ?? "info" }, pino.destination({ dest: 2, sync: true }));
}
