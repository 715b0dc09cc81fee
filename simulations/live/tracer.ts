/**
 * System calls of a running process that fail, or take long: `strace` is attached to it and tampers with them until it is
 * detached. What the process does then is what it would do on such a disk.
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';

export type Tampering =
  /** What is to be forced to the disk is not, and the process is told so. */
  | { readonly kind: 'syncFails' }
  /** It takes so much longer. */
  | { readonly kind: 'syncIsSlow'; readonly ms: number };

/** Files at positions are written by the journal alone, and mostly so that the write is the sync. */
const SYNCS = 'fsync,fdatasync,pwrite64';
const ATTACH_MS = 10_000;

export class Tracer {
  readonly #strace: ChildProcess;

  private constructor(strace: ChildProcess) {
    this.#strace = strace;
  }

  /** Why it cannot be done here; `undefined` where it can. */
  static whyNot(): string | undefined {
    const { status, error, stderr } = spawnSync('strace', ['-f', '-o', '/dev/null', 'true'], {
      encoding: 'utf8',
    });
    if (status === 0) return undefined;
    return `strace does not run here: ${error?.message ?? stderr.trim()}`;
  }

  /** Resolves once all threads of the process are tampered with; rejects where it has ended. */
  static async attach(pid: number, tampering: Tampering): Promise<Tracer> {
    const inject = tampering.kind === 'syncFails' ? 'error=EIO' : `delay_enter=${tampering.ms * 1_000}`;
    const options = ['-f', '-o', '/dev/null', '-e', `trace=${SYNCS}`, '-e', `inject=${SYNCS}:${inject}`];
    const strace = spawn('strace', [...options, '-p', String(pid)], { stdio: ['ignore', 'ignore', 'pipe'] });
    const timer = setTimeout(() => strace.kill('SIGKILL'), ATTACH_MS);
    // It is read on to the end: strace tells of every thread that is made, and would stop at a full pipe.
    const isAttached = await new Promise<boolean>((resolve) => {
      strace.stderr?.on('data', (chunk: Buffer) => chunk.includes('attached') && resolve(true));
      strace.once('error', () => resolve(false));
      strace.once('exit', () => resolve(false));
    });
    clearTimeout(timer);
    if (!isAttached) throw new Error(`strace did not attach to process ${pid}`);
    return new Tracer(strace);
  }

  /** The process goes on untouched, where it is still there. */
  async detach(): Promise<void> {
    const { exitCode, signalCode } = this.#strace;
    if (exitCode !== null || signalCode !== null) return;
    const ended = once(this.#strace, 'exit');
    this.#strace.kill('SIGTERM');
    await ended;
  }

  /** Without waiting. */
  abandon(): void {
    this.#strace.kill('SIGKILL');
  }
}
