/** The REST requests of operations, as any HTTP client would send them. */
import { type GraphQLField, isInputObjectType, getNullableType } from 'graphql';

import { schema } from '../../schema/schema.ts';
import { restPath } from '../../src/server/rest/openapi.ts';
import { type RestRoute, restRoutes } from '../../src/server/rest/routes.ts';

export interface RestRequest {
  method: 'GET' | 'POST';
  /** From /v1/rest on, with its query. */
  path: string;
  /** JSON. */
  body?: string;
}

export interface RestAnswer {
  status: number;
  type: string;
  headers: Headers;
  text: string;
  /** Parsed where it is JSON. */
  body: Record<string, unknown>;
}

const routes = new Map(restRoutes(schema).map((route) => [route.field.name, route]));

/** The route of a root field. */
export function routeOf(field: string): RestRoute {
  const route = routes.get(field);
  if (!route) throw new Error(`REST has no ${field}`);
  return route;
}

/** A query's variables in the address, a mutation's input as the body. */
export function restRequest(field: string, variables: Readonly<Record<string, unknown>>): RestRequest {
  const route = routeOf(field);
  if (route.kind === 'mutation') {
    return { method: 'POST', path: route.path, body: JSON.stringify(variables['input'] ?? {}) };
  }
  const inPath = /\{(\w+)\}/.exec(route.path)?.[1];
  const query = new URLSearchParams();
  for (const argument of route.field.args) {
    const value = variables[argument.name];
    if (argument.name === inPath || value === undefined || value === null) continue;
    for (const [name, text] of parametersOf(argument, value)) query.append(name, text);
  }
  const path = route.path.replace(/\{\w+\}/, encodeURIComponent(textOf(variables[inPath ?? ''])));
  return { method: 'GET', path: query.size > 0 ? `${path}?${query.toString()}` : path };
}

/** The fields of an object are parameters of their own; a list's items come one by one. */
function parametersOf({ name, type }: GraphQLField<unknown, unknown>['args'][number], value: unknown) {
  const given = isInputObjectType(getNullableType(type)) ? Object.entries(value as object) : [[name, value] as const];
  return given.flatMap(([key, one]: readonly [string, unknown]) =>
    one === undefined || one === null ? [] : [one].flat().map((item) => [key, textOf(item)] as const),
  );
}

function textOf(value: unknown): string {
  return typeof value === 'string' ? value : JSON.stringify(value ?? '');
}

export async function askRest(
  url: string,
  token: string,
  { method, path, body }: RestRequest,
  options: { headers?: Record<string, string>; signal?: AbortSignal } = {},
): Promise<RestAnswer> {
  const response = await fetch(`${url}${restPath}${path}`, {
    method,
    headers: {
      authorization: `Bearer ${token}`,
      ...(body === undefined ? {} : { 'content-type': 'application/json' }),
      ...options.headers,
    },
    ...(body === undefined ? {} : { body }),
    ...(options.signal ? { signal: options.signal } : {}),
  });
  const text = await response.text();
  const type = response.headers.get('content-type') ?? '';
  const parsed: unknown = /json/.test(type) ? JSON.parse(text) : {};
  return {
    status: response.status,
    type,
    headers: response.headers,
    text,
    body: (typeof parsed === 'object' && parsed !== null ? parsed : { value: parsed }) as Record<string, unknown>,
  };
}
