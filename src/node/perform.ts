import type { Logger, Meter, Wire } from '../kernel/ports.ts';
import type { BudgetStore } from './budget-store.ts';
import type { Calls } from './calls.ts';
import type { NodeEffect } from './core.ts';
import { Announcements } from './faces.ts';

interface Performers {
  readonly wire: Wire;
  readonly calls: Calls;
  readonly announcements: Announcements;
  readonly logger: Logger;
  readonly meter: Meter;
  /** Made after the core, which orders nothing before. */
  readonly budgetStore: () => BudgetStore | undefined;
}

/** Carries out one order of the core; `persist` never comes here, the executor keeps it. */
export function perform(effect: NodeEffect, to: Performers): void {
  const onFault = (error: unknown) => to.logger.log('error', 'node.listenerFailed', { error: String(error) });
  switch (effect.kind) {
    case 'send':
      for (const peer of effect.to) to.wire.send(peer, effect.channel, effect.bytes);
      return;
    case 'dial':
      to.wire.dial(effect.address);
      return;
    case 'admit':
      to.wire.admit(effect.peer);
      return;
    case 'disconnect':
      to.wire.disconnect(effect.peer, effect.reason);
      return;
    case 'answer':
      to.calls.answer(effect.id, effect.result);
      return;
    case 'mark':
      to.meter.count(effect.name);
      to.logger.log(effect.level, effect.name, effect.fields);
      return;
    case 'boardChanged':
      // The changes are worked out when they are asked for, entry by entry.
      if (!to.announcements.boardChanges.hears(effect.board)) return;
      to.announcements.boardChanges.announce(effect.board, effect.changes, onFault);
      return;
    case 'yjsUpdated':
      to.announcements.yjsUpdates.announce(
        Announcements.yjsKey(effect.board, effect.document),
        effect.update,
        onFault,
      );
      return;
    case 'memberChanged':
      to.announcements.lists.announce('nodes', undefined, onFault);
      return;
    case 'descriptorChanged':
      to.announcements.lists.announce('nodes', undefined, onFault);
      // Agents are listed with the name of their machine.
      to.announcements.lists.announce('agents', undefined, onFault);
      return;
    case 'agentsChanged':
      to.announcements.lists.announce('agents', undefined, onFault);
      return;
    case 'registerChanged':
    case 'registerReplaced':
      to.announcements.registerChanges.announce('', effect, onFault);
      return;
    case 'askStore':
      to.budgetStore()?.ask(effect.id, effect.call);
      return;
    case 'budgetChanged':
      to.announcements.budgetChanges.announce('', effect.budget, onFault);
      return;
    case 'thresholdPassed': {
      const { budget, percent, spent, limit } = effect;
      to.meter.count('budget.thresholdPassed');
      to.logger.log('warn', 'budget.thresholdPassed', { budget, percent, spent, limit });
      to.announcements.thresholds.announce('', { budget, percent, spent, limit }, onFault);
      return;
    }
    case 'persist':
    case 'awaitDisk':
      throw new Error('perform: an effect of the executor reached the host');
  }
}
