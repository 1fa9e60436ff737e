/**
 * Prints what an installation without development tools consists of, as CycloneDX 1.6, from package-lock.json alone: the same lockfile
 * gives the same bytes. (npm's own `npm sbom` leaves out most of what only packages of packages need.)
 */
import { readFileSync } from 'node:fs';

interface Locked {
  version?: string;
  integrity?: string;
  license?: string;
  dev?: boolean;
  link?: boolean;
  optional?: boolean;
}

const read = <T>(file: string): T => JSON.parse(readFileSync(new URL(`../${file}`, import.meta.url), 'utf8')) as T;
const { name, version } = read<{ name: string; version: string }>('package.json');
const { packages } = read<{ packages: Record<string, Locked> }>('package-lock.json');

const folder = 'node_modules/';
const components = new Map(
  Object.entries(packages)
    .filter(([at, { dev, link }]) => at.includes(folder) && dev !== true && link !== true)
    .map(([at, locked]) => componentOf(at.slice(at.lastIndexOf(folder) + folder.length), locked))
    .map((component) => [component['bom-ref'], component] as const),
);

function componentOf(of: string, { version: at = '', integrity, license, optional }: Locked) {
  const purl = `pkg:npm/${of.replace('@', '%40')}@${at}`;
  const [algorithm = '', digest = ''] = integrity?.split('-') ?? [];
  return {
    type: 'library',
    'bom-ref': purl,
    name: of,
    version: at,
    scope: optional === true ? 'optional' : 'required',
    ...(integrity === undefined
      ? {}
      : {
          hashes: [{ alg: algorithm.replace('sha', 'SHA-'), content: Buffer.from(digest, 'base64').toString('hex') }],
        }),
    ...(license === undefined
      ? {}
      : { licenses: [license.includes(' ') ? { expression: license } : { license: { name: license } }] }),
    purl,
  };
}

process.stdout.write(
  `${JSON.stringify(
    {
      $schema: 'http://cyclonedx.org/schema/bom-1.6.schema.json',
      bomFormat: 'CycloneDX',
      specVersion: '1.6',
      version: 1,
      metadata: { component: { type: 'application', 'bom-ref': `pkg:npm/${name}@${version}`, name, version } },
      components: [...components.values()].sort((a, b) => (a.purl < b.purl ? -1 : 1)),
    },
    null,
    2,
  )}\n`,
);
