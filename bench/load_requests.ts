/** Requests at a steady rate, by autocannon: `bun bench/load_requests.ts <url> <rate> <seconds> (--request <path>)…`. See load.ts. */
import autocannon from "autocannon";

const [url = "", rate = "0", seconds = "0", ...rest] = process.argv.slice(2);
const requests = rest.filter((word) => word !== "--request").map((path) => ({ method: "GET" as const, path }));
const {
  latency,
  requests: counted,
  non2xx,
  errors,
} = await autocannon({
  url,
  requests,
  connections: 20,
  overallRate: Number(rate),
  duration: Number(seconds),
});
console.log(
  JSON.stringify({ rate: counted.average, p50: latency.p50, p99: latency.p99, max: latency.max, bad: non2xx + errors }),
);
process.exit(0);
