/** A place in a grid. */
export interface Cell {
  row: number;
  column: number;
}

/**
 * Where a key leads in a grid of rows that may have holes, as the ARIA pattern of a grid has it: arrows by one cell, Home and End in the
 * row (in the whole grid with Ctrl), Page Up and Page Down by six rows. The same place where there is nothing further on; undefined for
 * any other key.
 *
 * @param columns the columns of each row that have a cell, ascending
 */
export function moved(
  columns: readonly (readonly number[])[],
  from: Cell,
  { key, ctrlKey }: { key: string; ctrlKey: boolean },
): Cell | undefined {
  const row = columns[from.row] ?? [];
  const last = columns.length - 1;
  const inRow = (column: number | undefined): Cell => ({ row: from.row, column: column ?? from.column });
  const toRow = (index: number): Cell => {
    const at = Math.min(last, Math.max(0, index));
    return { row: at, column: nearest(columns[at] ?? [], from.column) };
  };
  switch (key) {
    case 'ArrowLeft':
      return inRow(row.findLast((column) => column < from.column));
    case 'ArrowRight':
      return inRow(row.find((column) => column > from.column));
    case 'ArrowUp':
      return toRow(from.row - 1);
    case 'ArrowDown':
      return toRow(from.row + 1);
    case 'PageUp':
      return toRow(from.row - 6);
    case 'PageDown':
      return toRow(from.row + 6);
    case 'Home':
      return ctrlKey ? { row: 0, column: columns[0]?.[0] ?? 0 } : inRow(row[0]);
    case 'End':
      return ctrlKey ? { row: last, column: columns[last]?.at(-1) ?? 0 } : inRow(row.at(-1));
    default:
      return undefined;
  }
}

/** The column of a row that is least far away. */
function nearest(columns: readonly number[], wanted: number): number {
  return columns.reduce(
    (best, one) => (Math.abs(one - wanted) < Math.abs(best - wanted) ? one : best),
    columns[0] ?? 0,
  );
}
