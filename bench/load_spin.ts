/** Processes that each spin for a share of a core, waking together: `bun bench/load_spin.ts 0.4 0.2`. For bench/load.ts. */
const SLICE_MS = 20;
const shares = process.argv.slice(2);

if (shares.length > 1) {
  const spinners = shares.map((share) => Bun.spawn([process.execPath, import.meta.path, share]));
  process.on("SIGTERM", () => {
    for (const spinner of spinners) spinner.kill();
    process.exit(0);
  });
} else {
  const share = Number(shares[0]);
  for (;;) {
    const now = Date.now();
    await Bun.sleep(SLICE_MS - (now % SLICE_MS)); // all of them at the same moments
    const until = performance.now() + SLICE_MS * share;
    while (performance.now() < until);
  }
}
