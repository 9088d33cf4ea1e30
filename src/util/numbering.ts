/** Numbers different values from 0 on, in the order in which they are met. */
export class Numbering<T> {
  private readonly numbers = new Map<T, number>();

  /** The number of a value, a new one where it was not met before. */
  readonly of = (value: T): number => {
    const number = this.numbers.get(value) ?? this.numbers.size;
    this.numbers.set(value, number);
    return number;
  };

  /** All that were met, in the order of their numbers. */
  get values(): T[] {
    return [...this.numbers.keys()];
  }
}
