/** What stands on the quorum store, whichever engine keeps it: its boards joined with the others, leases and voters. */
import type { Blackboard } from '../blackboard/api.ts';
import { QuorumBoards } from '../blackboard/quorum-boards.ts';
import { JoinedBlackboard } from '../blackboard/quorum-joined.ts';
import type { QuorumBoardConfig } from '../blackboard/quorum-writes.ts';
import type { NodeId } from '../kernel/ids.ts';
import { limits } from '../kernel/limits.ts';
import type { Clock, Entropy } from '../kernel/ports.ts';
import type { Problem } from '../mesh/view.ts';
import { NamedLeases } from '../quorum/leases.ts';
import type { QuorumStore } from '../quorum/port.ts';
import type { Config } from './config/options.ts';

/** There without being declared. */
const DEFAULT_BOARDS = { main: 'crdt', tasks: 'quorum' } as const;

interface DeclaredBoard extends QuorumBoardConfig {
  readonly mode: 'crdt' | 'quorum';
}

export interface QuorumServices {
  readonly blackboard: Blackboard;
  readonly leases: NamedLeases;
  problems(): readonly Problem[];
  close(): void;
}

interface QuorumServicesOptions {
  readonly crdt: Blackboard;
  readonly store: QuorumStore;
  readonly boards: readonly DeclaredBoard[];
  readonly self: NodeId;
  readonly clock: Clock;
  readonly entropy: Entropy;
  readonly onFault: (error: unknown) => void;
}

export function quorumServicesOf(options: QuorumServicesOptions): QuorumServices {
  const { crdt, store, boards, clock } = options;
  const quorumBoards = new QuorumBoards({
    ...options,
    boards: boards.filter(({ mode }) => mode === 'quorum'),
  });
  quorumBoards.start();
  const others = new Set<string>(boards.filter(({ mode }) => mode === 'crdt').map(({ name }) => name));
  return {
    blackboard: new JoinedBlackboard(crdt, quorumBoards),
    leases: new NamedLeases(store, clock),
    problems: () =>
      quorumBoards
        .undeclared()
        .filter((name) => others.has(name))
        .map(modeDiffers),
    close: () => quorumBoards.close(),
  };
}

/** Boards of the configuration and those that are always there. */
export function declaredBoards({ boards }: Pick<Config, 'boards'>): readonly DeclaredBoard[] {
  const declared = Object.entries(boards).map(
    ([name, { mode, quota }]) =>
      ({ name, mode, quotaKeys: quota.keys, quotaBytes: quota.bytes }) as DeclaredBoard,
  );
  const implied = Object.entries(DEFAULT_BOARDS)
    .filter(([name]) => !(name in boards))
    .map(
      ([name, mode]) =>
        ({ name, mode, quotaKeys: limits.boardKeys, quotaBytes: limits.boardBytes }) as DeclaredBoard,
    );
  return [...implied, ...declared];
}

function modeDiffers(name: string): Problem {
  return {
    code: 'BOARD_MODE_DIFFERS',
    message: `The board "${name}" is of mode crdt on this node, and has entries of mode quorum, from other nodes: they do not see each other's entries.`,
    hint: `Declare it alike in the configuration of every node: boards: { ${name}: { mode: quorum } }. If it is to be crdt, first delete the entries on a node that has it as quorum (skein board list ${name}).`,
  };
}
