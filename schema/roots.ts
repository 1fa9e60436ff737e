import { builder } from './builder.ts';

builder.mutationType({ description: 'What can be asked for. Each leaves an audit entry, also when it is refused.' });
builder.subscriptionType({ description: 'What can be watched live.' });
