/** The calls of one node on their way into the log, against a register that applies what arrives. */
import { describe, expect, it } from 'vitest';
import { utf8 } from '../../../src/kernel/codec.ts';
import type { Instant } from '../../../src/kernel/time.ts';
import { Proposals, type Request } from '../../../src/quorum/calls/proposals.ts';
import { encodeCommand, type RequestHead } from '../../../src/quorum/register/command.ts';
import { Register } from '../../../src/quorum/register/register.ts';

const at = (monoMs: number): Instant => ({ monoMs, wallMs: 0 });
const why = () => ({ what: 'too late', details: {} });

function put(key: string) {
  return (head: RequestHead) =>
    encodeCommand({
      kind: 'transact',
      ...head,
      transaction: { compares: [], then: [{ op: 'put', key, value: utf8('v') }], otherwise: [] },
    });
}

/** One node's proposals and its copy of the register, which is told commands in an order of the test's choice. */
class Node {
  #lastId = 0;
  #index = 0;
  readonly register = new Register();
  readonly proposals = new Proposals(() => ++this.#lastId);
  readonly answered: number[] = [];
  readonly failed: { id: number; outcome: unknown }[] = [];

  apply(requests: readonly Request[], nowMs: number): void {
    for (const { command } of requests) {
      const { result, client, sequence } = this.register.apply(++this.#index, command);
      if (result.kind === 'refused') {
        if (result.why === 'unknownClient')
          for (const { id, error } of this.proposals.clientUnknown(client, sequence, at(nowMs)))
            this.failed.push({ id, outcome: error.details?.outcome });
        else if (result.why === 'busy') this.proposals.busy(client, sequence, at(nowMs));
      } else if (client !== 0 && sequence === 0) this.proposals.clientOpened(client);
      else if (client !== 0) {
        const id = this.proposals.applied(client, sequence);
        if (id !== undefined) this.answered.push(id);
      }
    }
  }
}

describe('proposals', () => {
  it('that one comes too late counts for the run of the node that asked it: the next has the same numbers (K30)', () => {
    const { proposals } = new Node();
    proposals.submit(1, put('a'), at(100));
    const [own, sequence] = [1, 1];
    expect(proposals.outdated(own + 1, sequence)).toBeUndefined();
    expect(proposals.size).toBe(1);
    expect(proposals.outdated(own, sequence)).toEqual({ id: 1, otherwise: [], deadlineMs: 1_800 });
    expect(proposals.size).toBe(0);
    expect(proposals.outdated(own, sequence)).toBeUndefined();
  });

  it('what overtakes the opening of its client takes effect once, and so does what it overtook (K29, K30)', () => {
    const node = new Node();
    node.proposals.submit(1, put('a'), at(0));
    const slow = node.proposals.takeDue(at(0));
    node.proposals.submit(2, put('b'), at(1));
    const quick = node.proposals.takeDue(at(1));
    node.apply(quick, 2);
    node.apply(node.proposals.takeDue(at(3)), 3);
    node.apply(slow, 4);
    for (let nowMs = 500; nowMs < 2_000; nowMs += 200) node.apply(node.proposals.takeDue(at(nowMs)), nowMs);
    expect(node.answered.toSorted()).toEqual([1, 2]);
    expect(node.failed).toEqual([]);
    expect([node.register.get('a')?.version, node.register.get('b')?.version]).toEqual([1, 1]);
  });

  it('a refusal that comes twice does not make a call that was sent since look as if it never was', () => {
    const node = new Node();
    node.proposals.submit(1, put('a'), at(0));
    const sequence = node.proposals.takeDue(at(0)).at(-1)?.sequence as number;
    node.proposals.refusedElsewhere(sequence, false, at(1));
    expect(node.proposals.takeDue(at(500))).toHaveLength(2);
    node.proposals.refusedElsewhere(sequence, false, at(501));
    const [late] = node.proposals.takeLate(at(10_000), why);
    expect(late?.error.details).toMatchObject({ outcome: 'unknown' });
  });
});
