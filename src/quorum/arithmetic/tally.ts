/** How a vote stands: more answers may decide it, or no answer that is still out can change it. */
export type Tally = 'pending' | 'lost' | 'won';

/** Two votes that must both be won: one that is lost decides at once. */
export function both(one: Tally, other: Tally): Tally {
  if (one === 'lost' || other === 'lost') return 'lost';
  return one === 'won' && other === 'won' ? 'won' : 'pending';
}
