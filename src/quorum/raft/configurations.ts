/** Which configuration is in force at which index: a server uses the latest in its log, committed or not (4.1). */
import type { Configuration, LogIndex } from './types.ts';

interface Change {
  readonly index: LogIndex;
  readonly configuration: Configuration;
}

export class Configurations {
  /** By index, never empty: the first is in force where the log begins. */
  #changes: Change[];

  constructor(index: LogIndex, configuration: Configuration) {
    this.#changes = [{ index, configuration }];
  }

  get latest(): Configuration {
    return this.#last.configuration;
  }

  get latestIndex(): LogIndex {
    return this.#last.index;
  }

  at(index: LogIndex): Configuration {
    for (let place = this.#changes.length - 1; place > 0; place--) {
      const change = this.#changes[place] as Change;
      if (change.index <= index) return change.configuration;
    }
    return (this.#changes[0] as Change).configuration;
  }

  /** The one in force at `index`, and all later ones. */
  since(index: LogIndex): readonly Configuration[] {
    const first = this.#changes.findLastIndex((change) => change.index <= index);
    return this.#changes.slice(Math.max(first, 0)).map((change) => change.configuration);
  }

  append(index: LogIndex, configuration: Configuration): void {
    this.#changes.push({ index, configuration });
  }

  /** Entries from `from` on are gone: what was in force before them is in force again (4.1). */
  truncate(from: LogIndex): void {
    while (this.#changes.length > 1 && this.#last.index >= from) this.#changes.pop();
  }

  /** The log begins after `index` from now on. */
  compact(index: LogIndex): void {
    while (this.#changes.length > 1 && (this.#changes[1] as Change).index <= index) this.#changes.shift();
  }

  get #last(): Change {
    return this.#changes[this.#changes.length - 1] as Change;
  }
}
