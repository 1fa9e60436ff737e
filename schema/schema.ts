/** Builds the schema. The imports are for their effect: each file adds its types. No file that defines a type imports this one. */
import { assertScalarType, GraphQLSchema, specifiedDirectives } from 'graphql';

import { builder } from './builder.ts';
import { authorizationDirectives } from './directives.ts';
import './agency.ts';
import './backfill.ts';
import './schedule.ts';
import './audit-entry.ts';
import './bulk-operation.ts';
import './checkpoint.ts';
import './classification.ts';
import './connection.ts';
import './contract.ts';
import './dataset.ts';
import './errors.ts';
import './live-subscription.ts';
import './pipeline.ts';
import './rejected-record.ts';
import './roots.ts';
import './run-control.ts';
import './run.ts';
import './run-change.ts';
import './run-event.ts';
import './run-parts.ts';
import './run-progress.ts';
import './scalars.ts';
import './viewer.ts';
import './webhook.ts';
import './vocabulary.ts';

/** Building throws an Error that lists every field without an authorization decision. */
const built = builder.toSchema();

// The directives' argument needs the built `Scope`: two types of one name would not make a schema.
export const schema = new GraphQLSchema({
  ...built.toConfig(),
  directives: [...specifiedDirectives, ...authorizationDirectives(assertScalarType(built.getType('Scope')))],
});
