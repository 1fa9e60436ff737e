/**
 * The import table of the architecture: arrows point one way, and each rule says what broke, or would break, without it.
 *
 *   errors <- db <- { queue, events, checkpoint, audit } <- domain <- resolvers <- schema <- server <- main
 *   domain <- worker <- main        etl, connectors, providers, objects <- worker        packages <- domain
 */

/** Leaves that any room may import: they know nothing of the others. */
const common = [
  '^src/errors[.]ts$',
  '^src/canonical-json[.]ts$',
  '^src/crypto/',
  '^src/network/',
  '^src/personal-data/',
  '^src/telemetry/',
];

/** A room may import its own files, the common leaves, node, packages, and what is listed; nothing else of ours. */
function room(name, from, allowed, comment, options = {}) {
  return {
    name,
    comment,
    severity: 'error',
    from: { path: from, ...(options.except ? { pathNot: options.except } : {}) },
    to: {
      path: '^(src|schema|resolvers|test|scripts|bench|sdk|dashboard)/',
      pathNot: [from, ...common, ...allowed],
      ...(options.runtimeOnly ? { dependencyTypesNot: ['type-only'] } : {}),
    },
  };
}

/** @type {import('dependency-cruiser').IConfiguration} */
module.exports = {
  forbidden: [
    {
      name: 'no-circular',
      comment:
        'Two files that need each other are one thing with two names, and load order decides which half is undefined.',
      severity: 'error',
      from: {},
      to: { circular: true, viaOnly: { dependencyTypesNot: ['type-only'] } },
    },
    {
      name: 'no-unresolved',
      comment: 'An import that resolves to nothing fails at start-up, not at build: the sources run without one.',
      severity: 'error',
      from: {},
      to: { couldNotResolve: true },
    },
    {
      name: 'not-to-dev-dependency',
      comment: 'A production install has no devDependencies; this would fail there only.',
      severity: 'error',
      from: { path: '^(src|schema|resolvers)/' },
      to: { dependencyTypes: ['npm-dev'], dependencyTypesNot: ['type-only'] },
    },
    {
      name: 'not-to-unlisted-dependency',
      comment: 'A package that is there only because another needs it goes when the other goes.',
      severity: 'error',
      from: {},
      to: { dependencyTypes: ['npm-no-pkg', 'npm-unknown'], dependencyTypesNot: ['type-only'] },
    },
    {
      name: 'nobody-imports-tests',
      comment: 'A test that others build on cannot change with what it tests.',
      severity: 'error',
      from: { pathNot: '^test/' },
      to: { path: '^test/' },
    },
    {
      name: 'nobody-imports-main',
      comment: 'main.ts puts the parts together. Whoever imports it drags in all of them, and starts them.',
      severity: 'error',
      from: { pathNot: '^(src/main[.]ts$|src/cli/|test/)' },
      to: { path: '^src/main[.]ts$' },
    },
    room(
      'errors-know-nothing',
      '^src/errors[.]ts$',
      [],
      'Everybody imports the errors; anything they import becomes a dependency of everybody.',
    ),
    room(
      'crypto-stands-alone',
      '^src/crypto/',
      [],
      'Cryptography is bytes in, bytes out. A key that knew its agency, or a cipher that read a table, could not be reviewed alone.',
    ),
    room(
      'network-stands-alone',
      '^src/network/',
      [],
      'Which addresses may be reached is one rule for webhooks and connectors; a second copy would be the one that is forgotten.',
    ),
    {
      name: 'only-crypto-does-cryptography',
      comment:
        'Which algorithms and key lengths Flux uses must be answered by one folder and its inventory (SC-13). A second importer ' +
        'of node:crypto would be outside both, and outside FIPS mode. Use src/crypto; tokens are jose’s, for src/auth alone.',
      severity: 'error',
      from: { path: '^(src|schema|resolvers)/', pathNot: '^src/crypto/' },
      to: { path: '^(node:)?crypto$', dependencyTypes: ['core'] },
    },
    {
      name: 'only-auth-verifies-tokens',
      comment: 'jose does cryptography of its own (Web Crypto); the inventory lists it once, for tokens.',
      severity: 'error',
      from: { path: '^(src|schema|resolvers)/', pathNot: '^src/auth/' },
      to: { path: '^node_modules/jose/' },
    },
    room(
      'db-is-the-lowest-room',
      '^src/db/',
      [],
      'src/db holds statements. A rule in there could not be found by reading src/domain, and could not be tested without a server.',
    ),
    {
      name: 'only-db-speaks-to-the-driver',
      comment:
        'The sql tag is what keeps a value from becoming syntax; a second way to the driver is a way round it. ' +
        'pg-copy-streams and the driver live behind src/db. A source’s database is none of ours, and its connector has one statement.',
      severity: 'error',
      from: { path: '^(src|schema|resolvers)/', pathNot: '^src/(db|connectors/postgres)/' },
      to: { path: '^node_modules/(pg|pg-copy-streams|@types/pg|@types/pg-copy-streams)/' },
    },
    room(
      'queue-carries-an-id-not-a-run',
      '^src/queue/',
      ['^src/db/'],
      'A queue that knows what a run means cannot be reasoned about by claims, leases and epochs alone.',
    ),
    room(
      'events-are-below-the-domain',
      '^src/events/',
      ['^src/db/'],
      'The event log is the truth that the domain writes to and the API reads from; it decides nothing.',
    ),
    room(
      'redis-carries-hints',
      '^src/redis/',
      ['^src/db/notify[.]ts$'],
      'Redis is a way for hints, which may be lost. A room that could read or write anything else over it would depend on it.',
    ),
    {
      name: 'only-redis-speaks-to-redis',
      comment:
        'What must not be lost is in the database; a second importer of the client would be the first to keep something there.',
      severity: 'error',
      from: { path: '^(src|schema|resolvers)/', pathNot: '^src/redis/' },
      to: { path: '^node_modules/@redis/' },
    },
    room(
      'checkpoints-are-below-the-domain',
      '^src/checkpoint/',
      ['^src/db/'],
      'A checkpoint must verify from its bytes and its place alone, with no rule of the domain in between.',
    ),
    room(
      'audit-is-below-the-domain',
      '^src/audit/',
      ['^src/db/'],
      'Every room above appends audit entries in its own transaction; audit needs none of them.',
    ),
    room(
      'keys-are-below-the-domain',
      '^src/keys/',
      ['^src/db/'],
      'Who may unwrap a key is decided by whose session asks (row-level security), never by a rule above.',
    ),
    room(
      'contracts-are-data',
      '^src/contracts/',
      ['^src/db/run-vocabulary[.]ts$', '^schemas/'],
      'A contract is validated the same way in the API, the CLI and a DuckDB child: no database, no server.',
    ),
    room(
      'objects-stand-alone',
      '^src/objects/',
      [],
      'The object store keeps bytes by address; it must not learn whose run asks.',
    ),
    room(
      'packages-are-bytes',
      '^src/packages/',
      [],
      'A package is made of facts and records that somebody was allowed to read. A statement in there would read what nobody has asked the rules for.',
    ),
    room(
      'connectors-know-only-their-system',
      '^src/connectors/',
      ['^src/objects/', '^src/contracts/', '^src/etl/engine-types[.]ts$'],
      'A connector that reaches into the queue or the domain cannot be replaced by another kind.',
    ),
    room(
      'etl-never-touches-flux-tables',
      '^src/etl/',
      ['^src/contracts/', '^src/connectors/', '^src/objects/'],
      'etl turns bytes into batches. It runs user SQL in child processes; a database handle there would be one bug away from it.',
    ),
    room(
      'auth-proves-who-asks',
      '^src/auth/',
      ['^src/db/run-vocabulary[.]ts$', '^src/contracts/'],
      'A token is verified before anything of a tenant is touched, so auth cannot need the database.',
    ),
    room(
      'domain-does-not-know-its-callers',
      '^src/domain/',
      ['^src/(db|queue|events|checkpoint|audit|contracts|auth|objects|keys|packages)/', '^src/etl/engine-types[.]ts$'],
      'The rules must be true for the API, the worker and the CLI alike; a rule that imports its caller is true for one.',
    ),
    room(
      'worker-is-not-the-server',
      '^src/worker/',
      [
        '^src/(db|queue|events|checkpoint|audit|contracts|auth|objects|keys|domain|etl|connectors|packages|providers)/',
        '^src/config[.]ts$',
      ],
      'Workers are their own processes and their own pods: loading the API there costs memory and opens ports nobody watches.',
    ),
    {
      name: 'resolvers-do-not-know-graphql',
      comment:
        'A resolver is a plain function. Returning GraphQL types from logic forced Dagster into imports inside function ' +
        'bodies; keep the arrow schema -> resolvers.',
      severity: 'error',
      from: { path: '^resolvers/' },
      to: { path: '^schema/|^node_modules/(graphql|@pothos|@apollo|graphql-ws)/' },
    },
    room(
      'resolvers-translate-and-call',
      '^resolvers/',
      ['^src/(domain|events|audit|auth|contracts|keys)/', '^src/db/'],
      'A resolver turns a request into a domain call; it starts no worker and knows no transport.',
    ),
    room(
      'schema-declares',
      '^schema/',
      ['^resolvers/', '^src/(auth|domain|events)/', '^src/db/', '^src/contracts/'],
      'schema/ says what is offered. A statement or a worker in there turns the declaration into the implementation.',
    ),
    {
      name: 'schema-knows-no-database',
      comment:
        'Except for names and row types: a database call among declarations would escape the resolver that scopes it.',
      severity: 'error',
      from: { path: '^schema/' },
      to: { path: '^src/db/', pathNot: '^src/db/run-vocabulary[.]ts$', dependencyTypesNot: ['type-only'] },
    },
    {
      name: 'types-do-not-import-the-schema',
      comment: 'schema.ts imports every type file and builds; a type file that imports it back loads half a schema.',
      severity: 'error',
      from: { path: '^schema/' },
      to: { path: '^schema/schema[.]ts$' },
    },
    room(
      'server-serves',
      '^src/server/',
      ['^(schema|resolvers)/', '^src/(auth|domain|events|contracts)/', '^src/db/', '^src/config[.]ts$'],
      'The API process answers requests; work on partitions belongs to the workers, or responsiveness suffers under load.',
    ),
    {
      name: 'server-has-no-statements',
      comment:
        'The transports share the resolvers. A statement called from one of them would be missing on the others.',
      severity: 'error',
      from: { path: '^src/server/' },
      to: { path: '^src/db/', pathNot: '^src/db/(pool|health)[.]ts$', dependencyTypesNot: ['type-only'] },
    },
    room(
      'config-reads-the-environment-only',
      '^src/config[.]ts$',
      [
        '^src/auth/',
        '^src/contracts/',
        '^src/(config-keys|config-object-store|config-settings|config-transport|home|salts)[.]ts$',
      ],
      'Every process reads its configuration first, before any room is loaded.',
    ),
    room(
      'embedded-postgres-starts-a-server',
      '^src/embedded-postgres/',
      ['^src/db/(pool|sql|ensure-database)[.]ts$', '^src/(home|process-lock)[.]ts$'],
      'It supervises a binary. What the database holds is the migrations’ affair.',
    ),
    {
      name: 'cli-and-supervisor-are-on-top',
      comment: 'A room that starts commands or processes cannot be loaded inside one of them.',
      severity: 'error',
      from: { path: '^(src|schema|resolvers)/', pathNot: '^src/(cli|supervisor)/|^src/main[.]ts$' },
      to: { path: '^src/(cli|supervisor)/' },
    },
    {
      name: 'sdk-imports-nothing-of-ours',
      comment: 'Published alone; an import from src would publish the server with it, or break at install.',
      severity: 'error',
      from: { path: '^sdk/' },
      to: { path: '^(src|schema|resolvers|test|scripts)/' },
    },
    {
      name: 'dashboard-imports-only-the-sdk',
      comment: 'The dashboard is a client like any other: what it can do, a customer can do.',
      severity: 'error',
      from: { path: '^dashboard/' },
      to: { path: '^(src|schema|resolvers|test|scripts)/' },
    },
  ],
  options: {
    doNotFollow: { path: 'node_modules' },
    exclude: { path: '^(coverage|dist|[.]flux|dashboard/dist)' },
    tsPreCompilationDeps: true,
    tsConfig: { fileName: 'tsconfig.json' },
    detectJSDocImports: false,
    enhancedResolveOptions: {
      exportsFields: ['exports'],
      conditionNames: ['import', 'node', 'types', 'default'],
      extensions: ['.ts', '.tsx', '.js', '.mjs', '.cjs', '.json'],
    },
  },
};
