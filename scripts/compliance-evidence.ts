/**
 * compliance/controls.yaml as an OSCAL component definition (1.2.1), and whether the tests behind it passed.
 *
 * Usage: npm run compliance -- [--report vitest.json]... [--out file]
 *
 * Without a report the definition says what is claimed. With reports (vitest's JSON), every test that a control names must have
 * passed in one of them: what did not is told on standard error, control by control, and the exit code is 1.
 */
import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { parseArgs } from 'node:util';

import { parse } from 'yaml';

const checkout = path.join(import.meta.dirname, '..');
const catalog = 'https://doi.org/10.6028/NIST.SP.800-53r5';

export interface Control {
  /** As OSCAL names it: `ac-2`, or `ac-2.4` for an enhancement. */
  id: string;
  /** Inherited: given by the platform or the identity provider. Customer: the agency's own duty. */
  status: 'implemented' | 'inherited' | 'customer';
  /** What Flux does; of an implemented control. */
  how?: string;
  /** Why it is not Flux that does it; of the others. */
  reason?: string;
  /** `file > describe > title`, as vitest lists them; of an implemented control at least one. */
  tests?: string[];
}

export interface Controls {
  title: string;
  description: string;
  version: string;
  /** ISO 8601; when the text was last changed. */
  revised: string;
  controls: Control[];
}

/** vitest's JSON report, as far as it is read here. */
export interface TestReport {
  startTime: number;
  testResults: {
    /** Absolute. */
    name: string;
    assertionResults: { ancestorTitles: string[]; title: string; status: string }[];
  }[];
}

export function readControls(): Controls {
  return parse(readFileSync(path.join(checkout, 'compliance/controls.yaml'), 'utf8')) as Controls;
}

/** What became of each test, by `file > describe > title`. One that ran more than once must have passed each time. */
export function outcomesOf(reports: readonly TestReport[]): Map<string, string> {
  const outcomes = new Map<string, string>();
  for (const { testResults } of reports) {
    for (const { name, assertionResults } of testResults) {
      for (const { ancestorTitles, title, status } of assertionResults) {
        const test = [path.relative(checkout, name), ...ancestorTitles, title].join(' > ');
        const before = outcomes.get(test);
        outcomes.set(test, before === undefined || before === 'passed' ? status : before);
      }
    }
  }
  return outcomes;
}

/** One line for each test that a control names and that did not pass. */
export function missingEvidence({ controls }: Pick<Controls, 'controls'>, outcomes: Map<string, string>): string[] {
  return controls.flatMap(({ id, tests = [] }) =>
    tests
      .filter((test) => outcomes.get(test) !== 'passed')
      .map((test) => `${id}: ${outcomes.get(test) ?? 'did not run'}: ${test}`),
  );
}

/**
 * The component definition. The same text and the same outcomes give the same document.
 *
 * @param evidence when the tests ran, and what became of them; absent: the definition claims and does not show
 */
export function componentDefinition(
  { title, description, version, revised, controls }: Controls,
  evidence?: { at: Date; outcomes: Map<string, string> },
): object {
  return {
    'component-definition': {
      uuid: uuidOf('component-definition'),
      metadata: {
        title: `${title}: component definition`,
        'last-modified': (evidence?.at ?? new Date(revised)).toISOString(),
        version,
        'oscal-version': '1.2.1',
      },
      components: [
        {
          uuid: uuidOf('component'),
          type: 'software',
          title,
          description,
          'control-implementations': [
            {
              uuid: uuidOf('implementation'),
              source: catalog,
              description: 'Controls of the Moderate baseline of NIST SP 800-53 revision 5.',
              'implemented-requirements': controls.map((control) => requirementOf(control, evidence?.outcomes)),
            },
          ],
        },
      ],
    },
  };
}

const status = { implemented: 'implemented', inherited: 'inherited', customer: 'customer-responsibility' } as const;

function requirementOf({ id, status: of, how, reason, tests = [] }: Control, outcomes?: Map<string, string>): object {
  const namespace = 'https://flux.example.gov/ns/oscal';
  return {
    uuid: uuidOf(id),
    'control-id': id,
    description: how ?? reason,
    props: [
      { name: 'control-origination', ns: namespace, value: status[of] },
      ...tests.map((test) => ({
        name: 'test',
        ns: namespace,
        uuid: uuidOf(`${id} ${test}`),
        value: test,
        class: outcomes?.get(test) ?? 'claimed',
      })),
    ],
  };
}

/** RFC 9562 version 5, in a namespace of this document: the same thing has the same id in each build. */
function uuidOf(name: string): string {
  const hash = createHash('sha1').update(`flux compliance ${name}`).digest('hex');
  const variant = ((Number.parseInt(hash.slice(16, 18), 16) & 0x3f) | 0x80).toString(16);
  return `${hash.slice(0, 8)}-${hash.slice(8, 12)}-5${hash.slice(13, 16)}-${variant}${hash.slice(18, 20)}-${hash.slice(20, 32)}`;
}

function main(): void {
  const { values } = parseArgs({ options: { report: { type: 'string', multiple: true }, out: { type: 'string' } } });
  const controls = readControls();
  const reports = values.report?.map((file) => JSON.parse(readFileSync(file, 'utf8')) as TestReport);
  const evidence = reports && {
    at: new Date(Math.max(...reports.map(({ startTime }) => startTime))),
    outcomes: outcomesOf(reports),
  };
  const text = `${JSON.stringify(componentDefinition(controls, evidence), null, 2)}\n`;
  if (values.out === undefined) process.stdout.write(text);
  else {
    mkdirSync(path.dirname(path.resolve(values.out)), { recursive: true });
    writeFileSync(values.out, text);
  }
  if (!evidence) return;
  const missing = missingEvidence(controls, evidence.outcomes);
  for (const line of missing) console.error(line);
  const implemented = controls.controls.filter(({ status: of }) => of === 'implemented').length;
  console.error(
    `${String(controls.controls.length)} controls: ${String(implemented)} implemented, ${String(missing.length)} of their tests without a pass`,
  );
  process.exitCode = missing.length > 0 ? 1 : 0;
}

if (import.meta.main) main();
