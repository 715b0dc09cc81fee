/**
 * Lists of things of which most have nearly everything in common, as they stand in the journal: what they share is written once, as
 * a form, and each names its form and gives what is its own. A tenth of the bytes and of the work of writing all of it each time.
 */

/** Its kind first. */
type Form = readonly (string | number)[];

export class FormWriter {
  readonly forms: Form[] = [];
  /** The place of a form, what is the thing's own, the place of the next one's form, and so on. */
  readonly fields: unknown[] = [];
  readonly #places = new Map<string, number>();
  #last = 0;

  /** What is its own goes behind. */
  begin(form: Form): unknown[] {
    if (!isSame(form, this.forms[this.#last])) this.#last = this.#placeOf(form);
    this.fields.push(this.#last);
    return this.fields;
  }

  #placeOf(form: Form): number {
    const text = form.join('\n');
    const known = this.#places.get(text);
    if (known !== undefined) return known;
    this.#places.set(text, this.forms.length);
    return this.forms.push(form) - 1;
  }
}

export interface Kind<T> {
  /** How many fields are a thing's own. */
  readonly own: number;
  /** `undefined` for what was never written. */
  readonly make: (form: readonly unknown[], own: readonly unknown[]) => T | undefined;
}

/** In their order; `undefined` for anything that `FormWriter` would not give. */
export function readForms<T>(
  forms: unknown,
  fields: unknown,
  kinds: Readonly<Record<string, Kind<T>>>,
): readonly T[] | undefined {
  if (!Array.isArray(forms) || !Array.isArray(fields)) return undefined;
  const things: T[] = [];
  for (let at = 0; at < fields.length; ) {
    const form: unknown = forms[fields[at] as number];
    const name = Array.isArray(form) ? String(form[0]) : '';
    const kind = Object.hasOwn(kinds, name) ? kinds[name] : undefined;
    if (kind === undefined) return undefined;
    const own = fields.slice(at + 1, at + 1 + kind.own);
    const thing = own.length === kind.own ? kind.make(form as readonly unknown[], own) : undefined;
    if (thing === undefined) return undefined;
    things.push(thing);
    at += 1 + kind.own;
  }
  return things;
}

function isSame(form: Form, other: Form | undefined): boolean {
  if (other === undefined || form.length !== other.length) return false;
  for (let at = 0; at < form.length; at++) if (form[at] !== other[at]) return false;
  return true;
}
