import type { WaitAnswer, WaitCall } from '../blackboard/api.ts';
import type { Result } from '../kernel/errors.ts';
import type { NodeFaces } from './faces.ts';
import type { ToolCall } from './tool.ts';

/** Often enough that a client which restarts its time-out at every sign of life keeps waiting. */
const PROGRESS_EVERY_MS = 5_000;

/** Waits for changes of a board, and tells a caller that asked for progress how long it has waited. */
export async function waitForChanges(
  { blackboard, clock }: NodeFaces,
  wait: WaitCall,
  { principal, signal, progress }: ToolCall,
): Promise<Result<WaitAnswer>> {
  const startedMs = clock.now().monoMs;
  let cancelTimer: (() => void) | undefined;
  const tick = () => {
    const waitedMs = clock.now().monoMs - startedMs;
    progress?.(Math.round(waitedMs / 1000), Math.ceil(wait.timeoutMs / 1000), 'Waiting for a change.');
    cancelTimer = clock.callAt(clock.now().monoMs + PROGRESS_EVERY_MS, tick);
  };
  if (progress !== undefined) cancelTimer = clock.callAt(startedMs + PROGRESS_EVERY_MS, tick);
  try {
    return await blackboard.call(wait, { agent: principal.agent }, signal);
  } finally {
    cancelTimer?.();
  }
}
