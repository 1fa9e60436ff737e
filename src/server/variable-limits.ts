import {
  type ArgumentNode,
  type DocumentNode,
  Kind,
  type OperationDefinitionNode,
  type ValueNode,
  visit,
} from 'graphql';

const pageSizeMax = 200;
/** A contract may nest 32 deep (security.md 7.3) and arrives as a variable, inside of an input. */
const nestingMax = 40;

/** What is too much in an operation once its variables are known, in words; empty if nothing. */
export function variableProblems(
  document: DocumentNode,
  operation: OperationDefinitionNode,
  variables: Readonly<Record<string, unknown>>,
): string[] {
  const problems: string[] = [];
  if (isDeeper(variables, nestingMax + 1)) {
    problems.push(`The variables are nested more than ${String(nestingMax)} deep.`);
  }
  // Of the operation that runs: another one of the document may give the same name a harmless default.
  const defaults = new Map(
    (operation.variableDefinitions ?? []).map(
      ({ variable, defaultValue }) => [variable.name.value, defaultValue] as const,
    ),
  );
  let depth = 0;
  let tooDeep = false;
  const nesting = {
    enter() {
      depth += 1;
      tooDeep ||= depth > nestingMax;
    },
    leave() {
      depth -= 1;
    },
  };
  visit(document, {
    ListValue: nesting,
    ObjectValue: nesting,
    Argument(argument) {
      const size = pageSize(argument, variables, defaults);
      if (size !== null && size > pageSizeMax) {
        problems.push(
          `\`${argument.name.value}\` is ${String(size)}; at most ${String(pageSizeMax)} are sent at once. Page with \`after\`.`,
        );
      }
    },
  });
  if (tooDeep) problems.push(`A value is nested more than ${String(nestingMax)} deep.`);
  return problems;
}

/** The number that `first` or `last` gets; null for other arguments, and for what graphql itself refuses. */
function pageSize(
  argument: ArgumentNode,
  variables: Readonly<Record<string, unknown>>,
  defaults: ReadonlyMap<string, ValueNode | undefined>,
): number | null {
  const name = argument.name.value;
  if (name !== 'first' && name !== 'last') return null;
  if (argument.value.kind !== Kind.VARIABLE) return literalNumber(argument.value);
  const variable = argument.value.name.value;
  const given = variables[variable];
  if (given === undefined) return literalNumber(defaults.get(variable));
  return typeof given === 'number' ? given : null;
}

function literalNumber(value: ValueNode | undefined): number | null {
  return value?.kind === Kind.INT ? Number(value.value) : null;
}

/** Whether objects and lists stand inside of each other more than `max` times. Stops there, so its own depth is bounded. */
function isDeeper(value: unknown, max: number): boolean {
  if (typeof value !== 'object' || value === null) return false;
  return max === 0 || Object.values(value).some((item) => isDeeper(item, max - 1));
}
