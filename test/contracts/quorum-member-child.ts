/** One whole node in a process of its own, its quorum store served over the channel to the parent. */
import { configWith } from '../../src/node/config/load.ts';
import { startNode } from '../../src/node/node.ts';
import type { MemberAnswer, MemberRequest } from './quorum-member.ts';

const node = await startNode(configWith(JSON.parse(process.argv[2] as string)));
const { store } = node.quorum;
const aborts = new Map<number, AbortController>();
const watches = new Map<number, () => void>();

function say(answer: MemberAnswer): void {
  process.send?.(answer);
}

async function call({ id, op, args, isAborted }: MemberRequest & { kind: 'call' }): Promise<void> {
  const abort = new AbortController();
  if (isAborted) abort.abort();
  aborts.set(id, abort);
  const carryOut = store[op] as (...args: unknown[]) => Promise<unknown>;
  const result = await carryOut(...args, abort.signal);
  aborts.delete(id);
  say({ kind: 'answer', id, result });
}

process.on('message', (request: MemberRequest) => {
  switch (request.kind) {
    case 'call':
      void call(request);
      return;
    case 'abort':
      aborts.get(request.id)?.abort();
      return;
    case 'watch': {
      const { id, range, fromRevision } = request;
      watches.set(
        id,
        store.watch(range, fromRevision, (event) => say({ kind: 'event', id, event })),
      );
      return;
    }
    case 'unwatch':
      watches.get(request.id)?.();
      watches.delete(request.id);
      return;
    case 'voters':
      say({ kind: 'answer', id: request.id, result: node.quorum.view().voters.length });
  }
});
process.on('disconnect', () => process.exit());
say({ kind: 'ready' });
