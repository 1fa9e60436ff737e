/** In rising order; the index is what the database keeps and compares. */
export const classificationNames = ['U', 'CUI', 'C', 'S', 'TS', 'SCI'] as const;
