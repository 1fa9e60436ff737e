import { isUtf8 } from 'node:buffer';
import { SaxesParser } from 'saxes';
import type { ParsedRecord } from '../json-record.ts';
import { jsonDepthMax } from '../limits.ts';
import { type Expected, readText } from '../typed-text.ts';

/** An element while its content is read. */
interface Open {
  name: string;
  expected: Expected;
  members: Map<string, unknown[]>;
  text: string;
  isNil: boolean;
}

const nothing: Expected = { is: 'text' };
const blank = /^[ \t\r\n]*$/;

/**
 * Reads one element as JSON would say it, which goes on like any JSON record. Elements are members by their names without prefixes;
 * attributes are members that begin with `@`; text beside either is `#text`. What occurs more than once is an array, and so is what
 * the contract says to be one. `xsi:nil="true"` is null; declarations of namespaces and other attributes of `xsi` are left out.
 * Entities are the five of XML and numbers of characters; any other makes the record unreadable, and none is ever expanded.
 */
export function parseXmlRecord(bytes: Buffer, expected: Expected): ParsedRecord {
  if (!isUtf8(bytes)) return fault('encoding', 'must be UTF-8, and holds other bytes');
  const read = readElement(bytes.toString('utf8'), expected);
  if ('problem' in read) return fault('parse', `must be well-formed XML: ${read.problem}`);
  if ('tooDeep' in read) return fault('depth', `must nest at most ${jsonDepthMax} deep, and nests deeper`);
  const text = JSON.stringify(read.value);
  return { value: JSON.parse(text) as unknown, text };
}

function fault(rule: string, message: string): ParsedRecord {
  return { issue: { path: '', rule, message } };
}

class TooDeep extends Error {}

function readElement(xml: string, expected: Expected): { value: unknown } | { problem: string } | { tooDeep: true } {
  const parser = new SaxesParser({ fragment: true, position: false });
  const open: Open[] = [];
  let result: { value: unknown } | null = null;
  let problem: string | null = null;
  // The parser would go on behind an error; the first is enough.
  parser.on('error', (error) => {
    problem ??= error.message.replace(/^undefined:/, '');
    throw error;
  });
  parser.on('opentag', ({ name, attributes }) => {
    if (open.length >= jsonDepthMax) throw new TooDeep();
    const local = localName(name);
    const outer = open.at(-1);
    const of = outer === undefined ? expected : memberOf(outer.expected, local);
    const element: Open = { name: local, expected: itemsOf(of), members: new Map(), text: '', isNil: false };
    for (const [attribute, value] of Object.entries(attributes as Record<string, string>))
      takeAttribute(element, attribute, value);
    open.push(element);
  });
  const addText = (text: string): void => {
    const element = open.at(-1);
    if (element !== undefined) element.text += text;
  };
  parser.on('text', addText);
  parser.on('cdata', addText);
  parser.on('closetag', () => {
    const element = open.pop() as Open;
    const outer = open.at(-1);
    const value = valueOf(element);
    if (outer === undefined) result = { value: value === undefined ? {} : value };
    else if (value !== undefined) addMember(outer.members, element.name, value);
  });
  try {
    parser.write(xml).close();
  } catch (cause) {
    if (cause instanceof TooDeep) return { tooDeep: true };
    if (problem === null) throw cause;
  }
  if (problem !== null) return { problem };
  return result ?? { problem: 'it holds no element' };
}

function takeAttribute(element: Open, name: string, value: string): void {
  if (name === 'xmlns' || name.startsWith('xmlns:')) return;
  if (name.startsWith('xsi:')) {
    element.isNil ||= name === 'xsi:nil' && (value === 'true' || value === '1');
    return;
  }
  const key = `@${localName(name)}`;
  const read = readText(value, memberOf(element.expected, key));
  if (read !== undefined) addMember(element.members, key, read);
}

function addMember(members: Map<string, unknown[]>, name: string, value: unknown): void {
  const values = members.get(name);
  if (values === undefined) members.set(name, [value]);
  else values.push(value);
}

/** @returns undefined: an element with nothing in it, where the contract expects a value that is no text */
function valueOf({ expected, members, text, isNil }: Open): unknown {
  if (isNil && members.size === 0) return null;
  const scalar = members.size === 0 && expected.is !== 'object';
  if (scalar) return readText(text, expected);
  const object: Record<string, unknown> = {};
  if (!blank.test(text)) {
    const read = readText(text, memberOf(expected, '#text'));
    if (read !== undefined) addMember(members, '#text', read);
  }
  for (const [name, values] of members) {
    const value = values.length > 1 || memberOf(expected, name).is === 'array' ? values : values[0];
    // A plain assignment to `__proto__` would change the object instead.
    Object.defineProperty(object, name, { value, enumerable: true, configurable: true, writable: true });
  }
  return object;
}

function memberOf(expected: Expected, name: string): Expected {
  return (expected.is === 'object' ? expected.members.get(name) : undefined) ?? nothing;
}

function itemsOf(expected: Expected): Expected {
  return expected.is === 'array' ? expected.items : expected;
}

function localName(name: string): string {
  return name.slice(name.indexOf(':') + 1);
}
