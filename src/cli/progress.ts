import type { Io } from './io.ts';

const QUIET_MS = 1_000;
const REDRAW_MS = 200;
/** Where the lines are kept rather than redrawn. */
const REPEAT_MS = 2_000;

/**
 * Says what takes so long, once it has taken a second: redrawn in place on a terminal, otherwise a line now and
 * then while it changes. Nothing at all for what is quick.
 */
export class Progress {
  readonly #io: Io;
  #timer: NodeJS.Timeout;
  #latest: string;
  #drawn: string | undefined;

  constructor(io: Io, initial: string) {
    this.#io = io;
    this.#latest = initial;
    this.#timer = setTimeout(() => this.#begin(), QUIET_MS);
  }

  update(line: string): void {
    this.#latest = line;
  }

  /** Wipes the line from a terminal. Call it before anything else is printed. */
  end(): void {
    clearTimeout(this.#timer);
    if (this.#drawn !== undefined && this.#io.errorIsTerminal) this.#io.writeError('\r\u001b[K');
    this.#drawn = undefined;
  }

  #begin(): void {
    this.#draw();
    this.#timer = setInterval(() => this.#draw(), this.#io.errorIsTerminal ? REDRAW_MS : REPEAT_MS);
  }

  #draw(): void {
    if (this.#latest === this.#drawn) return;
    this.#drawn = this.#latest;
    this.#io.writeError(this.#io.errorIsTerminal ? `\r\u001b[K${this.#latest}` : `${this.#latest}\n`);
  }
}
