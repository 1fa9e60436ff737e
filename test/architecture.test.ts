/** What linters cannot say about the shape of the code. Each rule names the places that break it. */
import { existsSync } from 'node:fs';

import {
  type GraphQLField,
  type GraphQLNamedType,
  isEnumType,
  isInputObjectType,
  isIntrospectionType,
  isObjectType,
  isInterfaceType,
  isSpecifiedScalarType,
} from 'graphql';
import ts from 'typescript';
import { describe, expect, test } from 'vitest';

import { schema } from '../schema/schema.ts';
import { type LockedPackages, missingEntries } from '../scripts/complete-lockfile.ts';
import lock from '../package-lock.json' with { type: 'json' };
import { longestFiles } from './support/longest-files.ts';
import { importsOf, nodesOf, placeOf, type SourceFile, sourceFiles } from './support/source-files.ts';

const product = sourceFiles('src', 'schema', 'resolvers');
const isGenerated = ({ path }: SourceFile): boolean => path.endsWith('/generated.ts');

describe('schema/', () => {
  /** The machinery that types are built with, as opposed to files that offer types. */
  const machinery = ['authorization', 'builder', 'directives', 'errors', 'scalars', 'schema', 'arguments'];
  const files = sourceFiles('schema').filter(({ path }) => !machinery.some((name) => path === `schema/${name}.ts`));

  const resolvers = (file: SourceFile): ts.PropertyAssignment[] =>
    nodesOf(file.tree, ts.isPropertyAssignment).filter(({ name }) => ['resolve', 'subscribe'].includes(name.getText()));

  test('has more than a handful of resolvers to look at', () => {
    expect(files.flatMap(resolvers).length).toBeGreaterThan(30);
  });

  test('answers with an expression: no block, no await', () => {
    const broken = files.flatMap((file) =>
      resolvers(file)
        .filter(({ initializer }) => {
          if (!ts.isArrowFunction(initializer)) return nodesOf(initializer, ts.isFunctionExpression).length > 0;
          return ts.isBlock(initializer.body) || nodesOf(initializer, ts.isAwaitExpression).length > 0;
        })
        .map((node) => placeOf(file, node)),
    );
    expect(broken, 'move the work into the twin file in resolvers/').toEqual([]);
  });

  test('hands the context only to a function of resolvers/', () => {
    const broken = files.flatMap((file) => {
      const imports = importsOf(file);
      return resolvers(file)
        .filter(({ initializer }) => ts.isArrowFunction(initializer))
        .flatMap(({ initializer }) => nodesOf(initializer, ts.isCallExpression))
        .filter((call) => call.arguments.some((argument) => argument.getText() === 'ctx'))
        .filter((call) => {
          const callee = call.expression;
          const owner = ts.isPropertyAccessExpression(callee) ? callee.expression.getText() : callee.getText();
          return !imports.get(owner)?.startsWith('../resolvers/');
        })
        .map((node) => placeOf(file, node));
    });
    expect(broken).toEqual([]);
  });

  test('calls namespaces whose twin of the same name declares the type', () => {
    const names = new Set(sourceFiles('schema').map(({ path }) => path.slice('schema/'.length)));
    const broken = files.flatMap((file) =>
      nodesOf(file.tree, ts.isNamespaceImport)
        .map((node) => ({ node, from: importsOf(file).get(node.name.text) ?? '' }))
        .filter(({ from }) => from.startsWith('../resolvers/') && !names.has(from.slice('../resolvers/'.length)))
        .map(({ node, from }) => `${placeOf(file, node)} ${from}`),
    );
    expect(broken).toEqual([]);
  });

  test('is loaded whole: schema.ts reaches every file', () => {
    const byPath = new Map(sourceFiles('schema').map((file) => [file.path, file]));
    const reached = new Set<string>();
    const visit = (path: string): void => {
      const file = byPath.get(path);
      if (!file || reached.has(path)) return;
      reached.add(path);
      for (const { moduleSpecifier } of nodesOf(file.tree, ts.isImportDeclaration)) {
        visit((moduleSpecifier as ts.StringLiteral).text.replace('./', 'schema/'));
      }
    };
    visit('schema/schema.ts');
    expect([...byPath.keys()].filter((path) => !reached.has(path))).toEqual([]);
  });

  test('describes every type, field, argument and value', () => {
    const own = Object.values(schema.getTypeMap()).filter(
      (type) => !isIntrospectionType(type) && !isSpecifiedScalarType(type),
    );
    interface Part {
      name: string;
      description?: string | null | undefined;
    }
    const argumentsOf = (field: GraphQLField<unknown, unknown>): Part[] =>
      field.args.map(({ name, description }) => ({ name: `${field.name}(${name}:)`, description }));
    const partsOf = (type: GraphQLNamedType): Part[] => {
      if (isEnumType(type)) return [...type.getValues()];
      if (isInputObjectType(type)) return Object.values(type.getFields());
      if (!isObjectType(type) && !isInterfaceType(type)) return [];
      return Object.values(type.getFields()).flatMap((field) => [field, ...argumentsOf(field)]);
    };
    expect(own.flatMap(partsOf).length).toBeGreaterThan(100);
    const silent = own.flatMap((type) => [
      ...(type.description ? [] : [type.name]),
      ...partsOf(type)
        .filter(({ description }) => !description)
        .map(({ name }) => `${type.name}.${name}`),
    ]);
    expect(silent).toEqual([]);
  });
});

describe('the sources', () => {
  test('read the environment in src/config.ts alone', () => {
    const broken = product
      .filter(({ path }) => path !== 'src/config.ts')
      .flatMap((file) =>
        nodesOf(file.tree, ts.isPropertyAccessExpression)
          .filter((node) => node.getText() === 'process.env')
          .map((node) => placeOf(file, node)),
      );
    expect(broken).toEqual([]);
  });

  test('hold SQL in src/db alone; DuckDB’s in src/etl, and what is read of others’ databases in its connector', () => {
    const statement =
      /^\s*(select\s|insert\s+into\s|update\s+[\w".]+\s+set\s|delete\s+from\s|create\s+(table|role|schema)\s|alter\s+(table|role)\s|drop\s+(table|role|schema)\s|begin$|commit$|rollback$|listen\s|notify\s)/i;
    const broken = product
      .filter(({ path }) => !/^src\/(db|etl|connectors\/postgres)\//.test(path))
      .flatMap((file) => [
        ...nodesOf(file.tree, ts.isTaggedTemplateExpression)
          .filter(({ tag }) => tag.getText() === 'sql')
          .map((node) => placeOf(file, node)),
        ...nodesOf(
          file.tree,
          (node): node is ts.TemplateLiteral =>
            ts.isTemplateExpression(node) || ts.isNoSubstitutionTemplateLiteral(node),
        )
          .filter((node) => statement.test(node.getText().slice(1)))
          .map((node) => placeOf(file, node)),
      ]);
    expect(broken).toEqual([]);
  });

  test('have files of one thing each: none above 400 lines', () => {
    const long = product.filter((file) => !isGenerated(file) && file.text.split('\n').length > 400);
    expect(long.map(({ path }) => path)).toEqual([]);
  });

  test('have names in kebab-case', () => {
    const broken = product.filter(({ path }) => !/^([a-z0-9-]+\/)+[a-z0-9]+(-[a-z0-9]+)*\.ts$/.test(path));
    expect(broken.map(({ path }) => path)).toEqual([]);
  });

  test('leave no note of work undone without a name and an issue', () => {
    const note = /\b(TODO|FIXME|XXX)\b(?! ?\([a-z0-9-]+, #\d+\))/;
    const broken = [...product, ...sourceFiles('scripts')].filter(({ text }) => note.test(text));
    expect(broken.map(({ path }) => path)).toEqual([]);
  });

  test('export no statement from src/db that nothing calls', () => {
    const words = [...product, ...sourceFiles('scripts', 'test', 'bench')].flatMap(
      ({ text }) => text.match(/\b\w+\b/g) ?? [],
    );
    const uses = new Map<string, number>();
    for (const word of words) uses.set(word, (uses.get(word) ?? 0) + 1);
    const unused = product
      .filter(({ path }) => path.startsWith('src/db/'))
      .flatMap((file) =>
        nodesOf(file.tree, ts.isFunctionDeclaration).map(({ name }) => ({ file, name: name?.text ?? '' })),
      )
      .filter(({ name }) => (uses.get(name) ?? 0) < 2)
      .map(({ file, name }) => `${file.path} ${name}`);
    expect(unused).toEqual([]);
  });
});

describe('the order of the tests', () => {
  test('begins with files that there are, each named once', () => {
    expect(longestFiles.filter((file) => !existsSync(file))).toEqual([]);
    expect(new Set(longestFiles).size).toBe(longestFiles.length);
  });
});

describe('package-lock.json', () => {
  test('has an entry for every optional binary, without which npm ci refuses it', () => {
    expect(
      Object.keys(missingEntries(lock.packages as LockedPackages)),
      'run node scripts/complete-lockfile.ts',
    ).toEqual([]);
  });
});
