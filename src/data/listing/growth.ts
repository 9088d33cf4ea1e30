/** What a file may unpack to: images are compressed already, and what grows more was made to fill memory or the disk. */
export const GROWTH = 20;

/** Bytes for so many packed ones, at least `always`. */
export const mostUnpacked = (packed: number, always: number): number => Math.max(always, GROWTH * packed);

/** Throws Error where `bytes` are more. */
export function expectGrowth(bytes: number, packed: number, always: number): void {
  const most = mostUnpacked(packed, always);
  if (bytes > most) throw new Error(`unpacks to ${bytes} bytes; ${most} are allowed, ${GROWTH} times its size`);
}
