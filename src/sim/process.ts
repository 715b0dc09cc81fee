/**
 * One run of one node: everything that calls into the node passes through here, so that a dead process hears nothing
 * more and a paused one hears all of it late, in order.
 */
export class SimulatedProcess {
  #state: 'running' | 'paused' | 'dead' = 'running';
  #held: (() => void)[] = [];

  get state(): 'running' | 'paused' | 'dead' {
    return this.#state;
  }

  /** Runs the callback now, once the process goes on, or never. */
  enter(callback: () => void): void {
    if (this.#state === 'running') callback();
    else if (this.#state === 'paused') this.#held.push(callback);
  }

  pause(): void {
    if (this.#state === 'running') this.#state = 'paused';
  }

  resume(): void {
    if (this.#state !== 'paused') return;
    this.#state = 'running';
    const held = this.#held;
    this.#held = [];
    for (const callback of held) this.enter(callback);
  }

  kill(): void {
    this.#state = 'dead';
    this.#held = [];
  }
}
