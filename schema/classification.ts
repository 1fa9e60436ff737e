import { type classifications } from '../src/auth/principal.ts';
import { builder } from './builder.ts';

/** 0 to 5 in the code and the database, by name in the API. */
export const ClassificationRef = builder.enumType('Classification', {
  description: 'How sensitive data is, in rising order.',
  values: {
    U: { value: 0, description: 'Unclassified.' },
    CUI: { value: 1, description: 'Controlled unclassified information.' },
    C: { value: 2, description: 'Confidential.' },
    S: { value: 3, description: 'Secret.' },
    TS: { value: 4, description: 'Top secret.' },
    SCI: { value: 5, description: 'Sensitive compartmented information.' },
  } satisfies Record<(typeof classifications)[number], { value: number; description: string }>,
});
