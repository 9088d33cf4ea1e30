/** At most `count` of the items, evenly spread over them, in their order. */
export function spread<T>(items: readonly T[], count: number): T[] {
  const some = Math.min(count, items.length);
  return Array.from({ length: some }, (_, i) => items[Math.floor((i * items.length) / some)] as T);
}
