// Compares the schema that clients rely on with the current schema. Fails on a breaking change.
import { readFileSync } from 'node:fs';
import { CriticalityLevel, diff } from '@graphql-inspector/core';
import { buildSchema } from 'graphql';

const load = (path) => buildSchema(readFileSync(new URL(path, import.meta.url), 'utf8'));

const changes = await diff(load('released.graphql'), load('../../schema.graphql'));
for (const { criticality, message } of changes) {
  console.log(`${criticality.level.padEnd(12)} ${message}`);
}
const breaking = changes.filter(({ criticality }) => criticality.level === CriticalityLevel.Breaking);
console.log(`changes since released.graphql: ${changes.length}, breaking: ${breaking.length}`);
process.exitCode = breaking.length > 0 ? 1 : 0;
