/**
 * No acknowledged write is lost unless something newer took its place, nothing deleted comes back, and nothing appears
 * that nobody wrote: the final state held against the history.
 */
import type { Entry } from '../../../src/blackboard/api.ts';
import { type History, type Operation, textsOf } from '../history.ts';

/** The final state of the board: entries by key. */
export type FinalState = ReadonlyMap<string, Entry>;

/**
 * `excused`: indices of operations that a lost or replaced disk may have taken with it. Returns what is wrong.
 */
export function checkDurability(
  history: History,
  final: FinalState,
  excused: ReadonlySet<number>,
): readonly string[] {
  const wrong: string[] = [];
  const byKey = new Map<string, Operation[]>();
  for (const operation of history) {
    const { call } = operation;
    if (call.op !== 'write' && call.op !== 'delete' && call.op !== 'append') continue;
    const list = byKey.get(call.key);
    if (list === undefined) byKey.set(call.key, [operation]);
    else list.push(operation);
  }
  for (const [key, operations] of byKey) {
    const entry = final.get(key);
    const isLog = operations.some(({ call }) => call.op === 'append');
    wrong.push(
      ...(isLog ? checkLog(key, operations, entry, excused) : checkKey(key, operations, entry, excused)),
    );
  }
  for (const key of final.keys()) if (!byKey.has(key)) wrong.push(`${key} exists, but nobody wrote it`);
  return wrong;
}

function checkKey(
  key: string,
  operations: History,
  entry: Entry | undefined,
  excused: ReadonlySet<number>,
): readonly string[] {
  const acknowledged = operations.filter(
    ({ outcome, answer, call }) => outcome === 'ok' && !(call.op === 'delete' && answer?.deleted === false),
  );
  const binding = acknowledged.filter(({ index }) => !excused.has(index));
  const newest = Math.max(0, ...binding.map(({ answer }) => answer?.revision ?? 0));
  const unknown = operations.filter(({ outcome }) => outcome === 'info' || outcome === 'pending');
  if (entry === undefined) {
    const mayBeDeleted =
      newest === 0 ||
      [...acknowledged, ...unknown].some(
        ({ call, outcome, answer }) =>
          call.op === 'delete' && (outcome !== 'ok' || (answer?.revision ?? 0) >= newest),
      );
    return mayBeDeleted ? [] : [`${key} is gone, but its acknowledged revision ${newest} was not deleted`];
  }
  const [text] = textsOf(entry.value);
  if (entry.revision < newest)
    return [`${key} is at revision ${entry.revision} (${text}), but ${newest} was acknowledged`];
  const writer = operations.find(({ written }) => text !== undefined && written.includes(text));
  if (writer === undefined || writer.outcome === 'fail')
    return [`${key} holds ${text}, which ${writer === undefined ? 'nobody wrote' : 'was refused'}`];
  if (writer.outcome === 'ok' && writer.answer?.revision !== entry.revision)
    return [`${key} holds ${text} at revision ${entry.revision}, acknowledged as ${writer.answer?.revision}`];
  return [];
}

function checkLog(
  key: string,
  operations: History,
  entry: Entry | undefined,
  excused: ReadonlySet<number>,
): readonly string[] {
  const held = textsOf(entry?.value ?? []);
  const places = new Map(held.map((text, place) => [text, place]));
  const wrong: string[] = [];
  if (places.size !== held.length) wrong.push(`${key} holds an item twice`);
  const written = new Map(
    operations.flatMap((operation) => operation.written.map((text) => [text, operation])),
  );
  for (const text of held) {
    const outcome = written.get(text)?.outcome;
    if (outcome === undefined || outcome === 'fail')
      wrong.push(`${key} holds ${text}, which ${outcome === undefined ? 'nobody appended' : 'was refused'}`);
  }
  for (const operation of operations) {
    const found = operation.written.map((text) => places.get(text));
    const missing = found.filter((place) => place === undefined).length;
    if (operation.outcome === 'ok' && missing > 0 && !excused.has(operation.index))
      wrong.push(`${key} lacks ${missing} of the acknowledged items ${operation.written.join(', ')}`);
    const present = found.filter((place) => place !== undefined);
    if (present.some((place, at) => at > 0 && place < (present[at - 1] as number)))
      wrong.push(`${key} holds ${operation.written.join(', ')} in another order`);
  }
  return wrong;
}
