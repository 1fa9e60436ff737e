/**
 * The tag through which all SQL passes. An interpolated value is always a bound parameter; text can enter a statement only
 * as another `sql` fragment or as a quoted identifier, so a value can never become syntax.
 */
const fragment = Symbol('sql');

export interface Sql {
  readonly [fragment]: true;
  readonly strings: readonly string[];
  readonly values: readonly unknown[];
}

export function sql(strings: TemplateStringsArray, ...values: unknown[]): Sql {
  const texts: string[] = [strings[0] as string];
  const bound: unknown[] = [];
  values.forEach((value, i) => {
    const rest = strings[i + 1] as string;
    if (isSql(value)) {
      texts[texts.length - 1] += value.strings[0] as string;
      texts.push(...value.strings.slice(1));
      bound.push(...value.values);
      texts[texts.length - 1] += rest;
    } else {
      bound.push(value);
      texts.push(rest);
    }
  });
  return { [fragment]: true, strings: texts, values: bound };
}

/** A quoted identifier, or a dotted path of them (PostgreSQL manual 4.1.1: double quotes, doubled inside). */
export function ident(...path: string[]): Sql {
  return raw(path.map((name) => `"${name.replaceAll('"', '""')}"`).join('.'));
}

/** Joins fragments, for column lists. */
export function join(parts: readonly Sql[], separator = ', '): Sql {
  return parts.reduce((all, part, i) => (i === 0 ? part : sql`${all}${raw(separator)}${part}`), raw(''));
}

/** A text literal, for the few utility statements that take no parameters (DDL, roles). */
export function literal(text: string): Sql {
  if (text.includes('\0')) throw new TypeError('a PostgreSQL literal cannot hold a NUL character');
  return raw(` E'${text.replaceAll('\\', '\\\\').replaceAll("'", "''")}'`);
}

/** Text and values as `pg` takes them. */
export function toQuery(query: Sql): { text: string; values: unknown[] } {
  return {
    text: query.strings.reduce((text, part, i) => (i === 0 ? part : `${text}$${String(i)}${part}`), ''),
    values: [...query.values],
  };
}

/** Trusted text. Private on purpose: nothing outside this file may turn a string into syntax. */
function raw(text: string): Sql {
  return { [fragment]: true, strings: [text], values: [] };
}

function isSql(value: unknown): value is Sql {
  return typeof value === 'object' && value !== null && fragment in value;
}
