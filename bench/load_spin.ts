/** Spins for a share of a core (may be above 1: then several processes): `bun bench/load_spin.ts 0.9`. For bench/load.ts. */
const share = Number(process.argv[2]);
const SLICE_MS = 10;

if (share > 1) {
  const parts = Math.ceil(share);
  const spinners = Array.from({ length: parts }, () =>
    Bun.spawn([process.execPath, import.meta.path, String(share / parts)]),
  );
  process.on("SIGTERM", () => {
    for (const spinner of spinners) spinner.kill();
    process.exit(0);
  });
} else {
  for (;;) {
    const until = performance.now() + SLICE_MS * share;
    while (performance.now() < until);
    await Bun.sleep(SLICE_MS * (1 - share));
  }
}
