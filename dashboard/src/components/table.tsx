import { memo, type ReactNode } from 'react';

export interface Column<Row> {
  title: string;
  cell: (row: Row) => ReactNode;
  /** Numbers stand at the right. */
  numeric?: boolean;
}

interface TableProps<Row> {
  /** What a screen reader announces; seen by all where `showCaption` is. */
  caption: string;
  showCaption?: boolean;
  columns: readonly Column<Row>[];
  rows: readonly Row[];
  keyOf: (row: Row) => string;
  /** Said instead of an empty table. */
  empty?: string;
}

/** A table that scrolls by itself on a narrow screen; the first column names the row. */
export function Table<Row>({ caption, showCaption = false, columns, rows, keyOf, empty }: TableProps<Row>) {
  if (rows.length === 0 && empty !== undefined) return <p className="empty">{empty}</p>;
  return (
    <div className="table-scroll" role="region" aria-label={caption} tabIndex={0}>
      <table className="usa-table usa-table--borderless">
        <caption className={showCaption ? undefined : 'usa-sr-only'}>{caption}</caption>
        <thead>
          <tr>
            {columns.map(({ title, numeric }) => (
              <th key={title} scope="col" className={numeric === true ? 'numeric' : undefined}>
                {title}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {rows.map((row) => (
            <TableRow key={keyOf(row)} row={row} columns={columns as readonly Column<unknown>[]} />
          ))}
        </tbody>
      </table>
    </div>
  );
}

/** Drawn anew only for another row, where the columns are made once: of a long list that changes one row, that one. */
const TableRow = memo(function TableRow({ row, columns }: { row: unknown; columns: readonly Column<unknown>[] }) {
  return (
    <tr>
      {columns.map(({ title, cell, numeric }, i) =>
        i === 0 ? (
          <th key={title} scope="row">
            {cell(row)}
          </th>
        ) : (
          <td key={title} className={numeric === true ? 'numeric' : undefined}>
            {cell(row)}
          </td>
        ),
      )}
    </tr>
  );
});
