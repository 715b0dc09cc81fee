/** The command line run in this process, against a terminal that remembers. */
import { run } from '../../src/cli/run.ts';

export interface Ended {
  readonly code: number;
  readonly out: string;
  readonly error: string;
  /** Standard output as one JSON document; throws where it is anything else. */
  readonly json: unknown;
}

export interface Setting {
  readonly environment?: Readonly<Record<string, string>>;
  readonly input?: string | Uint8Array;
  readonly signal?: AbortSignal;
}

export async function skein(argv: readonly string[], setting: Setting = {}): Promise<Ended> {
  let out = '';
  let error = '';
  const code = await run(argv, {
    environment: setting.environment ?? {},
    async writeOut(text) {
      out += text;
    },
    writeError: (text) => {
      error += text;
    },
    errorIsTerminal: false,
    async *input() {
      yield Buffer.from(setting.input ?? '');
    },
    signal: setting.signal ?? new AbortController().signal,
  });
  return {
    code,
    out,
    error,
    get json(): unknown {
      if (!out.endsWith('\n') || out.trimEnd().includes('\n')) throw new Error(`not one line: ${out}`);
      return JSON.parse(out);
    },
  };
}
