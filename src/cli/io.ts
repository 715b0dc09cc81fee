/** The command line's doors, so that tests can stand in for a terminal. */
import type { ErrorBody } from '../kernel/errors.ts';
import { printable } from './text.ts';

export interface Io {
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** Resolves once the text is taken, so that a slow reader slows the writer. */
  writeOut(text: string): Promise<void>;
  writeError(text: string): void;
  /** A person watches standard error: progress may be redrawn there. */
  readonly errorIsTerminal: boolean;
  /** Standard input. */
  input(): AsyncIterable<Uint8Array>;
  /** Aborted by the first interrupt. */
  readonly signal: AbortSignal;
}

/** Prints results: one JSON document on standard output with `--json`, text for people otherwise. */
export class Output {
  readonly #io: Io;
  readonly json: boolean;

  constructor(io: Io, json: boolean) {
    this.#io = io;
    this.json = json;
  }

  /** The result of a command. `human` returns lines without the last line's end. */
  async result(document: unknown, human: () => string): Promise<void> {
    if (this.json) {
      await this.#io.writeOut(`${JSON.stringify(document)}\n`);
      return;
    }
    const text = human();
    if (text !== '') await this.#io.writeOut(`${text}\n`);
  }

  /** For people only, beside the result: what to do next. */
  note(text: string): void {
    if (!this.json) this.#io.writeError(`${text}\n`);
  }

  /** For people, also with `--json`: goes to standard error. */
  warn(text: string): void {
    this.#io.writeError(`${text}\n`);
  }

  async error(body: ErrorBody): Promise<void> {
    if (this.json) await this.#io.writeOut(`${JSON.stringify({ error: body })}\n`);
    this.#io.writeError(
      `${printable(body.message, { lines: true })}\n${printable(body.hint, { lines: true })}\n`,
    );
  }
}
