/** The evidence for NIST SP 800-53: what is claimed names tests that exist, and what is installed is new enough. */
import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';

import { Ajv } from 'ajv';
import addFormats from 'ajv-formats';
import { expect, test } from 'vitest';
import { parse } from 'yaml';

import {
  componentDefinition,
  type Controls,
  missingEvidence,
  outcomesOf,
  readControls,
} from '../../scripts/compliance-evidence.ts';

const checkout = path.join(import.meta.dirname, '..', '..');
const oscal = path.join(checkout, '..', 'shared', 'data', 'oscal');
const controls = readControls();
const read = (file: string): string => readFileSync(path.join(checkout, file), 'utf8');

test('at least forty controls are there once each, and each names its tests or says why not', () => {
  const ids = controls.controls.map(({ id }) => id);
  expect(new Set(ids).size).toBe(ids.length);
  expect(ids.length).toBeGreaterThanOrEqual(40);
  expect(controls.controls.filter(({ status }) => status === 'implemented').length).toBeGreaterThanOrEqual(40);
  for (const { id, status, how, reason, tests = [] } of controls.controls) {
    const implemented = status === 'implemented';
    expect(['implemented', 'inherited', 'customer'], id).toContain(status);
    expect((implemented ? how : reason) ?? '', id).toMatch(/\S{2,}.*\.$/);
    expect(tests.length > 0, `${id} names tests exactly if it is implemented`).toBe(implemented);
  }
});

/** Titles as they are written; of a title with placeholders no test can be named before it runs. */
function titlesIn(source: string): string[] {
  return [...source.matchAll(/\b(?:describe|test|it)(?:\.\w+(?:\([^()]*\))?)*\(\s*(['`"])((?:(?!\1).)+)\1/gs)].map(
    ([, , title = '']) => title,
  );
}

test('every test that a control names is written in its file', () => {
  for (const { id, tests = [] } of controls.controls) {
    for (const named of tests) {
      const [file = '', ...titles] = named.split(' > ');
      expect(existsSync(path.join(checkout, file)), `${id}: ${file}`).toBe(true);
      const written = titlesIn(read(file));
      for (const title of titles) expect(written, `${id}: ${named}`).toContain(title);
    }
  }
});

test('the component definition is valid OSCAL 1.2.1, and its controls are of the Moderate baseline', (context) => {
  const schemaFile = path.join(oscal, 'oscal_component_schema.json');
  if (!existsSync(schemaFile)) context.skip('the OSCAL schemas are not beside this checkout (../shared/data/oscal)');
  const ajv = new Ajv({ strict: false, allErrors: true });
  addFormats.default(ajv);
  const isValid = ajv.compile(JSON.parse(readFileSync(schemaFile, 'utf8')) as object);
  const outcomes = new Map(controls.controls.flatMap(({ tests = [] }) => tests).map((named) => [named, 'passed']));
  for (const document of [
    componentDefinition(controls),
    componentDefinition(controls, { at: new Date(0), outcomes }),
  ]) {
    expect(isValid(document), JSON.stringify(isValid.errors?.slice(0, 3))).toBe(true);
  }
  expect(isValid({ 'component-definition': { uuid: 'none' } })).toBe(false);

  const baseline = readFileSync(
    path.join(oscal, 'NIST_SP-800-53_rev5_MODERATE-baseline-resolved-profile_catalog-min.json'),
    'utf8',
  );
  const known = controlIds((JSON.parse(baseline) as { catalog: Group }).catalog);
  expect(known).toHaveLength(287);
  for (const { id } of controls.controls) expect(known).toContain(id);
});

interface Group {
  id?: string;
  groups?: Group[];
  controls?: Group[];
}

function controlIds({ groups = [], controls: own = [] }: Group): string[] {
  return [...groups.flatMap(controlIds), ...own.flatMap((one) => [one.id ?? '', ...controlIds(one)])];
}

test('a test that failed, did not run or does not exist is told, control by control', () => {
  const report = (status: string) => ({
    startTime: 0,
    testResults: [
      {
        name: path.join(checkout, 'test/a.test.ts'),
        assertionResults: [
          { ancestorTitles: ['a door'], title: 'is shut', status },
          { ancestorTitles: [], title: 'is locked', status: 'skipped' },
        ],
      },
    ],
  });
  const claimed: Controls['controls'] = [
    { id: 'ac-3', status: 'implemented', tests: ['test/a.test.ts > a door > is shut'] },
    { id: 'pe-3', status: 'implemented', tests: ['test/a.test.ts > is locked', 'test/a.test.ts > is guarded'] },
  ];
  const skipped = ['pe-3: skipped: test/a.test.ts > is locked', 'pe-3: did not run: test/a.test.ts > is guarded'];
  expect(missingEvidence({ controls: claimed }, outcomesOf([report('passed')]))).toEqual(skipped);
  const failed = ['ac-3: failed: test/a.test.ts > a door > is shut', ...skipped];
  expect(missingEvidence({ controls: claimed }, outcomesOf([report('failed')]))).toEqual(failed);
  // Once on each of two servers: the second pass does not heal the first failure, nor the other way round.
  expect(missingEvidence({ controls: claimed }, outcomesOf([report('failed'), report('passed')]))).toEqual(failed);
  expect(missingEvidence({ controls: claimed }, outcomesOf([report('passed'), report('failed')]))).toEqual(failed);
});

interface Locked {
  version?: string;
  dev?: boolean;
}

/** Of two versions without labels: negative when `a` comes before `b`. */
function compareVersions(a: string, b: string): number {
  const [left, right] = [a, b].map((text) => text.split(/[.-]/).slice(0, 3).map(Number)) as [number[], number[]];
  return left.map((part, at) => part - (right[at] ?? 0)).find((difference) => difference !== 0) ?? 0;
}

test('every copy of a security-sensitive package is at least the version without its known weaknesses', () => {
  const { packages } = JSON.parse(read('package-lock.json')) as { packages: Record<string, Locked> };
  const pinned = parse(read('compliance/packages.yaml')) as { name: string; minimum: string; because: string }[];
  expect(pinned.length).toBeGreaterThanOrEqual(10);
  for (const { name, minimum, because } of pinned) {
    const copies = Object.entries(packages).filter(
      ([at, { dev }]) => at.endsWith(`node_modules/${name}`) && dev !== true,
    );
    expect(copies.length, `${name} is not installed: remove it from compliance/packages.yaml`).toBeGreaterThan(0);
    for (const [at, { version = '0.0.0' }] of copies) {
      expect(
        compareVersions(version, minimum),
        `${at} is ${version}, below ${minimum}: ${because}`,
      ).toBeGreaterThanOrEqual(0);
    }
  }
  expect(compareVersions('8.9.0', '8.10.0')).toBeLessThan(0);
});
