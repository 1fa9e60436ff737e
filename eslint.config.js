import tseslint from 'typescript-eslint';

/** A worker's worst bug is a promise that nobody awaits: a lost promise is a lost run. Hence the type-aware rules. */
export default tseslint.config(
  {
    ignores: ['node_modules/', 'coverage/', '.flux/', '**/dist/', '**/dist.*.tmp*/', 'src/server/static/'],
  },
  {
    files: ['**/*.ts', '**/*.tsx'],
    extends: [tseslint.configs.recommendedTypeChecked],
    languageOptions: { parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname } },
    linterOptions: { reportUnusedDisableDirectives: 'error' },
    rules: {
      '@typescript-eslint/no-floating-promises': 'error',
      '@typescript-eslint/no-misused-promises': 'error',
      '@typescript-eslint/switch-exhaustiveness-check': ['error', { considerDefaultExhaustiveForUnions: true }],
      '@typescript-eslint/only-throw-error': 'error',
      '@typescript-eslint/consistent-type-imports': ['error', { fixStyle: 'inline-type-imports' }],
      '@typescript-eslint/no-explicit-any': 'error',
      '@typescript-eslint/no-unused-vars': ['error', { argsIgnorePattern: '^_', varsIgnorePattern: '^_' }],
      '@typescript-eslint/return-await': ['error', 'error-handling-correctness-only'],
      // An async function may await nothing: it keeps an interface, and turns a throw into a rejection.
      '@typescript-eslint/require-await': 'off',
      // Our interfaces are records of closures; none of their methods reads `this`.
      '@typescript-eslint/unbound-method': 'off',
      eqeqeq: ['error', 'always'],
      'no-console': 'error',
      'no-restricted-imports': [
        'error',
        {
          paths: [
            { name: 'node:assert', message: 'Throw a FluxError, or narrow the type.' },
            {
              name: 'node:process',
              importNames: ['env'],
              message: 'src/config.ts is the only reader of the environment.',
            },
          ],
        },
      ],
      'no-restricted-syntax': [
        'error',
        {
          selector: 'MemberExpression[object.name="process"][property.name="env"]',
          message:
            'src/config.ts is the only reader of the environment: it types it and reports every problem at once.',
        },
      ],
    },
  },
  {
    // The Web Crypto global needs no import, so the import table cannot see it.
    files: ['src/**', 'schema/**', 'resolvers/**'],
    rules: {
      'no-restricted-globals': [
        'error',
        { name: 'crypto', message: 'Cryptography is src/crypto’s: see docs/cryptography.md.' },
      ],
      'no-restricted-properties': [
        'error',
        {
          object: 'globalThis',
          property: 'crypto',
          message: 'Cryptography is src/crypto’s: see docs/cryptography.md.',
        },
      ],
    },
  },
  {
    // Children of the supervisor get their parent's environment; config.ts reads it, the tests and scripts set it.
    files: ['src/config.ts', 'scripts/**', 'test/**', 'bench/**', 'vitest.config.ts'],
    rules: { 'no-restricted-syntax': 'off' },
  },
  {
    // Terminal commands speak to a person.
    files: ['src/cli/**', 'scripts/**', 'bench/**'],
    rules: { 'no-console': 'off' },
  },
  {
    // Written by generators, whose words they are; everything else holds for them as well.
    files: ['sdk/src/generated/**/*.ts', 'src/contracts/generated.ts'],
    rules: {
      '@typescript-eslint/no-duplicate-type-constituents': 'off',
      '@typescript-eslint/no-empty-object-type': 'off',
    },
  },
  {
    files: ['test/**'],
    rules: {
      // Answers of GraphQL and JSON arrive untyped; the assertions are their check.
      '@typescript-eslint/no-unsafe-assignment': 'off',
      '@typescript-eslint/no-unsafe-member-access': 'off',
      '@typescript-eslint/no-unsafe-argument': 'off',
    },
  },
);
