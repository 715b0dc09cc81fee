/** The provider's process as its parent sees it, and how agents call it. */
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { Agent, request } from 'node:http';
import { fileURLToPath } from 'node:url';
import type { Served } from './operations.ts';

/** From now on so much may be served of the budget; its tokens count in the parent too. */
export interface ProviderTerms {
  readonly budget: string;
  readonly limit: number;
  readonly parent?: string;
}

export type ProviderNews = { readonly kind: 'ready' } | Served;

export class Provider {
  readonly socketPath: string;
  readonly #child: ChildProcess;

  private constructor(socketPath: string, child: ChildProcess) {
    this.socketPath = socketPath;
    this.#child = child;
  }

  static async start(socketPath: string, onServed: (served: Served) => void): Promise<Provider> {
    const child = fork(fileURLToPath(new URL('./provider-child.ts', import.meta.url)), [socketPath], {
      stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
      execArgv: ['--disable-warning=ExperimentalWarning'],
    });
    const ready = once(child, 'message');
    await Promise.race([ready, once(child, 'exit')]);
    if (child.exitCode !== null) throw new Error('the provider did not start');
    child.on('message', (news: ProviderNews) => {
      if (news.kind === 'serve') onServed(news);
    });
    return new Provider(socketPath, child);
  }

  /** Before the new limit is asked for anywhere, so that it is in force here first. */
  agree(terms: ProviderTerms): Promise<void> {
    return post(this.socketPath, '/terms', terms);
  }

  kill(): void {
    this.#child.kill('SIGKILL');
  }
}

const connections = new Agent({ keepAlive: true, maxSockets: 16 });

/** Resolves once the tokens are served, and counted. */
export function serve(
  socketPath: string,
  served: Pick<Served, 'budget' | 'reservationId' | 'tokens'>,
): Promise<void> {
  return post(socketPath, '/serve', served);
}

function post(socketPath: string, path: string, body: unknown): Promise<void> {
  return new Promise((resolve, reject) => {
    const sent = request({ socketPath, path, method: 'POST', agent: connections }, (response) => {
      response.resume();
      response.once('end', resolve);
    });
    sent.once('error', reject);
    sent.end(JSON.stringify(body));
  });
}
