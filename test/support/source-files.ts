import { globSync, readFileSync } from 'node:fs';
import path from 'node:path';

import ts from 'typescript';

const root = path.resolve(import.meta.dirname, '../..');

export interface SourceFile {
  /** Relative to the checkout, with forward slashes. */
  path: string;
  text: string;
  tree: ts.SourceFile;
}

/** The parsed TypeScript files below some folders, sorted by path. */
export function sourceFiles(...folders: string[]): SourceFile[] {
  return folders
    .flatMap((folder) => globSync(`${folder}/**/*.ts`, { cwd: root }))
    .sort()
    .map((file) => {
      const text = readFileSync(path.join(root, file), 'utf8');
      return {
        path: file.replaceAll(path.sep, '/'),
        text,
        tree: ts.createSourceFile(file, text, ts.ScriptTarget.ESNext, true),
      };
    });
}

/** Every node of a kind below `from`, in source order. */
export function nodesOf<T extends ts.Node>(from: ts.Node, is: (node: ts.Node) => node is T): T[] {
  const found: T[] = [];
  const visit = (node: ts.Node): void => {
    if (is(node)) found.push(node);
    ts.forEachChild(node, visit);
  };
  visit(from);
  return found;
}

/** `path:line` of a node, for messages. */
export function placeOf(file: SourceFile, node: ts.Node): string {
  const { line } = file.tree.getLineAndCharacterOfPosition(node.getStart(file.tree));
  return `${file.path}:${String(line + 1)}`;
}

/** Local names of a file's imports, each with what it imports from: `runs` -> `../resolvers/run.ts`. */
export function importsOf(file: SourceFile): Map<string, string> {
  const imports = new Map<string, string>();
  for (const declaration of nodesOf(file.tree, ts.isImportDeclaration)) {
    const from = (declaration.moduleSpecifier as ts.StringLiteral).text;
    const clause = declaration.importClause;
    if (clause?.name) imports.set(clause.name.text, from);
    const bindings = clause?.namedBindings;
    if (bindings && ts.isNamespaceImport(bindings)) imports.set(bindings.name.text, from);
    if (bindings && ts.isNamedImports(bindings)) {
      for (const { name } of bindings.elements) imports.set(name.text, from);
    }
  }
  return imports;
}
