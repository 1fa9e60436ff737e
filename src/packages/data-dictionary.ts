import type { PackageFacts } from './package-facts.ts';
import { nullText, type TableSchema } from './table-schema.ts';

/** `data-dictionary.md`: for people, what `datapackage.json` says to programs. */
export function dataDictionary(
  facts: PackageFacts,
  schema: TableSchema,
  told: { title: string; marking: string },
): string {
  const { dataset, columns, loads } = facts;
  const nothing = nullText(columns);
  const key = schema.primaryKey ?? [];
  return [
    `# ${oneLine(told.title)}`,
    '',
    `Dataset \`${dataset}\`, agency \`${facts.agency}\`, marking ${told.marking}.`,
    '',
    '## Columns of `data/' + dataset + '.csv`',
    '',
    ...table(
      ['Column', 'Type', 'In PostgreSQL', 'Key', 'Masked', 'Description'],
      schema.fields.map(({ name, type, title, description, masked }, at) => [
        `\`${name}\``,
        type,
        columns[at]?.type ?? '',
        key.includes(name) ? 'yes' : '',
        masked ?? '',
        [title, description].filter((text) => text !== undefined).join(': '),
      ]),
    ),
    '',
    'CSV of RFC 4180 in UTF-8 with a header. ' +
      (nothing === ''
        ? 'A value that is not there is an empty field; an empty text is `""`, which most readers take for the same. '
        : `A value that is not there is \`${nothing}\`. `) +
      'Times are UTC where they carry an offset, and have no zone otherwise. Values are as they are in the dataset: one that begins with `=`, `+`, `-` or `@` ' +
      'may be taken for a formula by a spreadsheet.',
    '',
    '## Loads',
    '',
    ...(loads.length === 0
      ? ['None.']
      : table(
          ['Load', 'Visible since', 'Mode', 'Records written', 'Replaced since', 'Pipeline', 'Run'],
          loads.map((load) => [
            String(load.loadNo),
            load.publishedAt.toISOString(),
            load.mode,
            String(load.written),
            String(load.replaced),
            `${load.pipeline} v${String(load.pipelineVersion)}`,
            load.runId,
          ]),
        )),
    '',
  ].join('\n');
}

function table(titles: readonly string[], rows: readonly (readonly string[])[]): string[] {
  const line = (cells: readonly string[]): string => `| ${cells.map((cell) => oneLine(cell)).join(' | ')} |`;
  return [line(titles), line(titles.map(() => '---')), ...rows.map(line)];
}

/** A contract's words must not become another column or another line of the page. */
function oneLine(text: string): string {
  return text.replaceAll(/\s+/g, ' ').replaceAll('\\', '\\\\').replaceAll('|', '\\|').replaceAll('<', '&lt;');
}
