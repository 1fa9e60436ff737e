/** Documents that cost more than they look, or are none. */
export interface Operation {
  query: string;
  variables?: Record<string, unknown>;
  operationName?: string;
}

export const repeat = (count: number, each: (i: number) => string, separator = ' '): string =>
  Array.from({ length: count }, (_, i) => each(i)).join(separator);
export const nest = (depth: number, open: string, inner: string): string =>
  `${repeat(depth, () => `${open} {`)} ${inner} ${'}'.repeat(depth)}`;
export const nested = (depth: number): unknown => (depth === 0 ? 1 : { a: nested(depth - 1) });

/** Name, operation, and the code of its refusal. They ask test-schema.ts. */
export const hostile: [string, Operation, string][] = [
  ['1,001 tokens', { query: `{ ${repeat(1_000, () => 'broken')} }` }, 'LIMIT_EXCEEDED'],
  [
    '90,000 bytes of comment and one token too many',
    { query: `#${'x'.repeat(50_000)}\n{ ${repeat(1_001, () => 'broken')} }` },
    'LIMIT_EXCEEDED',
  ],
  ['11 levels', { query: `{ ${nest(10, 'loop', 'text')} }` }, 'LIMIT_EXCEEDED'],
  ['300 levels', { query: `{ ${nest(300, 'loop', 'text')} }` }, 'LIMIT_EXCEEDED'],
  [
    '11 levels in which inline fragments hide',
    { query: `{ loop { ${nest(9, '... on Loop { loop', 'text')} ${'}'.repeat(9)} } }` },
    'LIMIT_EXCEEDED',
  ],
  [
    '11 levels by fragments',
    {
      query: `{ ...q } fragment q on Query { loop { ...f0 } } ${repeat(9, (i) => `fragment f${String(i)} on Loop { loop { ${i < 8 ? `...f${String(i + 1)}` : 'text'} } }`)}`,
    },
    'LIMIT_EXCEEDED',
  ],
  [
    '16 aliases',
    { query: `{ ${repeat(8, (i) => `a${String(i)}: broken`)} loop { ${repeat(8, (i) => `b${String(i)}: text`)} } }` },
    'LIMIT_EXCEEDED',
  ],
  ['300 aliases', { query: `{ ${repeat(300, (i) => `a${String(i)}: broken`)} }` }, 'LIMIT_EXCEEDED'],
  [
    '16 aliases that fragments multiply',
    {
      query: `{ a: loop { ...f } b: loop { ...f } c: loop { ...f } d: loop { ...f } } fragment f on Loop { w: text x: text y: text }`,
    },
    'LIMIT_EXCEEDED',
  ],
  [
    '2^20 aliases by a chain of fragments',
    {
      query: `{ loop { ...f0 } } ${repeat(20, (i) => `fragment f${String(i)} on Loop { a: loop { ...f${String(i + 1)} } b: loop { ...f${String(i + 1)} } }`)} fragment f20 on Loop { text }`,
    },
    'LIMIT_EXCEEDED',
  ],
  ['11 root fields', { query: `{ ${repeat(11, () => 'broken')} }` }, 'LIMIT_EXCEEDED'],
  [
    '11 root fields by fragments',
    { query: `{ ...a ...a } fragment a on Query { ${repeat(6, () => 'broken')} }` },
    'LIMIT_EXCEEDED',
  ],
  ['700 times the same field', { query: `{ ${repeat(700, () => 'broken')} }` }, 'LIMIT_EXCEEDED'],
  [
    '21 directives on fields',
    { query: `query ($t: Boolean = true) { loop { ${repeat(21, () => 'text @include(if: $t)')} } }` },
    'LIMIT_EXCEEDED',
  ],
  ['21 directives on one field', { query: `{ broken ${repeat(21, () => '@skip(if: false)')} }` }, 'LIMIT_EXCEEDED'],
  ['21 directives that do not exist', { query: `{ broken ${repeat(21, (i) => `@x${String(i)}`)} }` }, 'LIMIT_EXCEEDED'],
  [
    '21 directives on fragments',
    { query: `{ ${repeat(21, () => '... @include(if: true) { broken }')} }` },
    'LIMIT_EXCEEDED',
  ],
  [
    '16 levels of introspection',
    { query: `{ __schema { types { ${nest(13, 'ofType', 'name')} } } }` },
    'LIMIT_EXCEEDED',
  ],
  [
    'a circle of introspection',
    {
      query: `{ __schema { types { fields { type { fields { type { fields { type { fields { type { fields { type { fields { type { fields { type { name } } } } } } } } } } } } } } } } }`,
    },
    'LIMIT_EXCEEDED',
  ],
  ['a page of 201', { query: '{ numbers(first: 201) }' }, 'LIMIT_EXCEEDED'],
  ['a page of 2^31 - 1', { query: '{ numbers(first: 2147483647) }' }, 'LIMIT_EXCEEDED'],
  [
    'a page of 201 by variable',
    { query: 'query ($n: Int) { numbers(first: $n) }', variables: { n: 201 } },
    'LIMIT_EXCEEDED',
  ],
  ['a page of 201 by default', { query: 'query ($n: Int = 201) { numbers(first: $n) }' }, 'LIMIT_EXCEEDED'],
  [
    'a page of 201 by the default of one of two operations',
    {
      query: 'query A($n: Int = 201) { numbers(first: $n) } query B($n: Int = 1) { numbers(first: $n) }',
      operationName: 'A',
    },
    'LIMIT_EXCEEDED',
  ],
  ['a page of 201 in a fragment', { query: '{ ...f } fragment f on Query { numbers(first: 201) }' }, 'LIMIT_EXCEEDED'],
  [
    'variables 41 deep',
    { query: 'query ($v: JSON) { numbers(value: $v) }', variables: { v: nested(41) } },
    'LIMIT_EXCEEDED',
  ],
  ['variables 2,000 deep that nobody uses', { query: '{ broken }', variables: { v: nested(2_000) } }, 'LIMIT_EXCEEDED'],
  ['pages inside of pages', { query: '{ pages(first: 200) { pages(first: 200) { text } } }' }, 'LIMIT_EXCEEDED'],
  [
    'pages inside of pages by variables and fragments',
    {
      query:
        'query ($n: Int) { pages(first: $n) { ...f } } fragment f on Loop { pages { ...g } } fragment g on Loop { pages(first: 2) { text } }',
      variables: { n: 60 },
    },
    'LIMIT_EXCEEDED',
  ],
  [
    'the same page nine times',
    { query: `{ ${repeat(9, (i) => `p${String(i)}: pages(first: 200) { pages(first: 2) { text } }`)} }` },
    'LIMIT_EXCEEDED',
  ],
  ['a fragment that spreads itself', { query: '{ ...f } fragment f on Query { ...f }' }, 'INVALID_INPUT'],
  [
    'two fragments that spread each other',
    { query: '{ ...f } fragment f on Query { ...g } fragment g on Query { ...f }' },
    'INVALID_INPUT',
  ],
  ['a circle through fields', { query: '{ loop { ...f } } fragment f on Loop { loop { ...f } }' }, 'INVALID_INPUT'],
  ['a fragment that does not exist', { query: '{ ...f }' }, 'INVALID_INPUT'],
  [
    '100 fragments that nobody uses',
    { query: `{ broken } ${repeat(100, (i) => `fragment f${String(i)} on Query { broken }`)}` },
    'INVALID_INPUT',
  ],
  ['200 unknown fields', { query: `{ loop { ${repeat(200, (i) => `nope${String(i)}`)} } }` }, 'INVALID_INPUT'],
  ['100 unknown arguments', { query: `{ broken(${repeat(100, (i) => `a${String(i)}: 1`)}) }` }, 'INVALID_INPUT'],
  [
    '200 undefined variables',
    { query: `{ numbers(value: [${repeat(200, (i) => `$v${String(i)}`)}]) }` },
    'INVALID_INPUT',
  ],
  [
    'fields that overlap',
    { query: `{ loop { ${repeat(14, (i) => `a: ${i % 2 ? 'text' : 'secret'}`)} } }` },
    'INVALID_INPUT',
  ],
  [
    'a list in a list, 400 deep',
    { query: `{ numbers(value: ${'['.repeat(400)}1${']'.repeat(400)}) }` },
    'LIMIT_EXCEEDED',
  ],
  [
    'an object 45 deep as a literal',
    { query: `{ numbers(value: ${'{a:'.repeat(45)}1${'}'.repeat(45)}) }` },
    'LIMIT_EXCEEDED',
  ],
  ['no document', { query: '' }, 'INVALID_INPUT'],
  ['nothing but a comment', { query: '#' }, 'INVALID_INPUT'],
  ['an open brace', { query: '{' }, 'INVALID_INPUT'],
  ['a NUL', { query: '{ broken \0 }' }, 'INVALID_INPUT'],
  ['half a surrogate pair', { query: '{ numbers(value: "\\uD800") }' }, 'INVALID_INPUT'],
  ['a type definition', { query: 'type Query { a: Int }' }, 'INVALID_INPUT'],
  ['an operation of another name', { query: 'query A { broken }', operationName: 'B' }, 'INVALID_INPUT'],
  ['inherited names', { query: '{ constructor toString __proto__ }' }, 'INVALID_INPUT'],
  ['a variable of a type that does not exist', { query: 'query ($v: Nope) { broken }' }, 'INVALID_INPUT'],
  [
    'a variable of another type',
    { query: 'query ($n: Int) { numbers(first: $n) }', variables: { n: 'many' } },
    'INVALID_INPUT',
  ],
];

/** A request to REST that asks for more than it may, or is none. */
export interface HostileRequest {
  method?: 'GET' | 'POST' | 'PUT' | 'DELETE';
  path: string;
  body?: string;
  headers?: Record<string, string>;
}

const post = (body: string, headers: Record<string, string> = {}): HostileRequest => ({
  method: 'POST',
  path: '/attempt',
  body,
  headers,
});

/** Name, request, status and code of its refusal. Documents are the server's own over REST; what a client can shape is its values. */
export const hostileRequests: [string, HostileRequest, number, string][] = [
  ['a page of 201', { path: '/numbers?first=201' }, 429, 'LIMIT_EXCEEDED'],
  ['a page of 2^31 - 1', { path: '/pages?first=2147483647' }, 429, 'LIMIT_EXCEEDED'],
  ['201 digits', { path: `/numbers?first=${'9'.repeat(201)}` }, 429, 'LIMIT_EXCEEDED'],
  ['half a page', { path: '/numbers?first=1.5' }, 400, 'INVALID_INPUT'],
  ['many', { path: '/numbers?first=many' }, 400, 'INVALID_INPUT'],
  ['a number in another notation', { path: '/numbers?first=0x10' }, 400, 'INVALID_INPUT'],
  ['digits of another script', { path: `/numbers?first=${encodeURIComponent('٣')}` }, 400, 'INVALID_INPUT'],
  ['a value twice', { path: '/numbers?first=1&first=2' }, 400, 'INVALID_INPUT'],
  ['a parameter that does not exist', { path: '/numbers?offset=1' }, 400, 'INVALID_INPUT'],
  ['a thousand parameters', { path: `/numbers?${repeat(1_000, (i) => `p${String(i)}=1`, '&')}` }, 400, 'INVALID_INPUT'],
  ['inherited names', { path: '/numbers?constructor=1' }, 400, 'INVALID_INPUT'],
  ['a prototype', { path: '/numbers?__proto__=1' }, 400, 'INVALID_INPUT'],
  [
    'a document',
    { path: `/viewer?query=${encodeURIComponent('{ __schema { types { name } } }')}` },
    400,
    'INVALID_INPUT',
  ],
  ['5,001 ids', { path: `/nodes?ids=${repeat(5_001, () => '1', ',')}` }, 429, 'LIMIT_EXCEEDED'],
  ['a path that is no text', { path: '/failing/%E0%A4%A' }, 400, 'INVALID_INPUT'],
  ['a path of 10,000 characters', { path: `/failing/${'x'.repeat(10_000)}` }, 400, 'INVALID_INPUT'],
  ['a path that climbs', { path: '/..%2f..%2fhealth%2fdeep' }, 404, 'NOT_FOUND'],
  ['another method', { method: 'PUT', path: '/attempt', body: '{}' }, 404, 'NOT_FOUND'],
  ['a query as a mutation', { method: 'POST', path: '/numbers', body: '{}' }, 404, 'NOT_FOUND'],
  ['a mutation as a query', { path: '/attempt' }, 404, 'NOT_FOUND'],
  ['a body of 100,001 bytes', post(JSON.stringify({ code: 'x'.repeat(99_990) })), 429, 'LIMIT_EXCEEDED'],
  ['a body 41 deep', post(JSON.stringify({ code: nested(41) })), 429, 'LIMIT_EXCEEDED'],
  ['a body 2,000 deep', post(JSON.stringify({ code: nested(2_000) })), 429, 'LIMIT_EXCEEDED'],
  ['a list 40,000 deep', post(`{"a":${'['.repeat(40_000)}${']'.repeat(40_000)}}`), 429, 'LIMIT_EXCEEDED'],
  ['a body that is a list', post('[]'), 400, 'INVALID_INPUT'],
  ['a body that is a text', post('"{}"'), 400, 'INVALID_INPUT'],
  ['half a body', post('{"code":'), 400, 'INVALID_INPUT'],
  ['no body', post(''), 400, 'INVALID_INPUT'],
  ['a body with a prototype', post('{"__proto__":{"role":"admin"}}'), 400, 'INVALID_INPUT'],
  ['a body with a constructor', post('{"constructor":{"prototype":{"role":"admin"}}}'), 400, 'INVALID_INPUT'],
  [
    'a body of another type',
    post('code=x', { 'content-type': 'application/x-www-form-urlencoded' }),
    400,
    'INVALID_INPUT',
  ],
  ['two keys that differ', post('{"idempotencyKey":"a"}', { 'idempotency-key': 'b' }), 400, 'INVALID_INPUT'],
];
