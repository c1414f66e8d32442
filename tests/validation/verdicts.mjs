// Recomputes the verdict of every case in documents.json and compares it with the recorded one.
//
//   node verdicts.mjs path/to/schema.graphql
//
// The verdicts come from the reference implementation, the npm package `graphql` in the version that package.json pins.
// A request is valid if the reference parses the document, finds no error with `specifiedRules`, selects one operation whose
// type the schema has, and coerces the variables. The operation is not executed.
//
// This script adds two things to the reference: the format of each scalar, because the text of a schema does not contain
// it, and a rule that a field of a oneOf object is a non-null position. The reference misses that rule if the oneOf object
// itself is required.
//
// A case has `name`, `rule`, `query` and `valid`. It may have `variables`, `operationName`, `note`, and `variablesText`: the
// JSON text of the variables, for cases in which a parser loses a difference (1.0 and 1).
//
// Prints each case whose verdict differs, and then exits with status 1.

import { readFileSync, realpathSync } from 'node:fs';
import process from 'node:process';
import { fileURLToPath } from 'node:url';
import {
  buildSchema,
  getNullableType,
  getOperationAST,
  getVariableValues,
  GraphQLError,
  GraphQLScalarType,
  isInputObjectType,
  isNonNullType,
  Kind,
  parse,
  print,
  specifiedRules,
  typeFromAST,
  validate,
} from 'graphql';

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;

const RFC_3339 = new RegExp(
  '^(\\d{4})-(0[1-9]|1[0-2])-(0[1-9]|[12]\\d|3[01])T([01]\\d|2[0-3]):[0-5]\\d:([0-5]\\d|60)(\\.\\d+)?' +
    '(Z|[+-]([01]\\d|2[0-3]):[0-5]\\d)$',
  'i',
);

/** Whether a text is a date and time in RFC 3339 format. A space instead of the `T` is not accepted. */
function isDateTime(text) {
  const found = RFC_3339.exec(text);
  if (!found) return false;
  const [year, month, day] = found.slice(1, 4).map(Number);
  const leap = (year % 4 === 0 && year % 100 !== 0) || year % 400 === 0;
  const days = [31, leap ? 29 : 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
  return day <= days[month - 1];
}

const scalars = { UUID: (text) => UUID.test(text), DateTime: isDateTime };

/** Reads the schema from a file. Its scalars accept only strings in their format. */
export function readSchema(path) {
  const schema = buildSchema(readFileSync(path, 'utf8'));
  for (const [name, isOne] of Object.entries(scalars)) {
    const scalar = schema.getType(name);
    if (!(scalar instanceof GraphQLScalarType)) throw new Error(`The schema has no scalar ${name}.`);
    scalar.parseValue = (value) => {
      if (typeof value === 'string' && isOne(value)) return value;
      throw new GraphQLError(`${JSON.stringify(value)} is not a ${name}.`);
    };
    scalar.parseLiteral = (node) => {
      if (node.kind === Kind.STRING && isOne(node.value)) return node.value;
      throw new GraphQLError(`${print(node)} is not a ${name}.`, { nodes: node });
    };
  }
  return schema;
}

/** Reads the cases of documents.json. The name of a case is unique within its rule. */
export function readCases() {
  return JSON.parse(readFileSync(new URL('documents.json', import.meta.url), 'utf8'));
}

/** The variables of a case. It has `variablesText` if the format of a number matters. */
export function variablesOf({ variables, variablesText }) {
  return variablesText === undefined ? variables : JSON.parse(variablesText);
}

/**
 * The part of VariablesInAllowedPosition that the reference misses (section 5.8.5, IsNonNullPosition): a variable in a
 * field of a oneOf object must have a non-null type, or a default other than null.
 */
function oneOfVariables(context) {
  return {
    OperationDefinition: {
      leave(operation) {
        const definitions = new Map(operation.variableDefinitions?.map((it) => [it.variable.name.value, it]));
        for (const { node, parentType } of context.getRecursiveVariableUsages(operation)) {
          const definition = definitions.get(node.name.value);
          const parent = parentType && getNullableType(parentType);
          if (!definition || !isInputObjectType(parent) || !parent.isOneOf) continue;
          const type = typeFromAST(context.getSchema(), definition.type);
          const defaultValue = definition.defaultValue;
          if (!type || isNonNullType(type) || (defaultValue && defaultValue.kind !== Kind.NULL)) continue;
          const message = `Variable "$${node.name.value}" of type "${type}" may be null in a field of ${parent}.`;
          context.reportError(new GraphQLError(message, { nodes: [definition, node] }));
        }
      },
    },
  };
}

/** Returns the errors that the reference finds. A valid request has none. */
export function findErrors(schema, { query, operationName, ...rest }) {
  let document;
  try {
    document = parse(query);
  } catch (error) {
    return [error];
  }
  const errors = validate(schema, document, [...specifiedRules, oneOfVariables]);
  if (errors.length > 0) return errors;
  const operation = getOperationAST(document, operationName);
  if (!operation) return [new GraphQLError('The request does not select one operation.')];
  if (!schema.getRootType(operation.operation)) {
    return [new GraphQLError(`The schema has no ${operation.operation}.`)];
  }
  const result = getVariableValues(schema, operation.variableDefinitions ?? [], variablesOf(rest) ?? {});
  return result.errors ?? [];
}

function main(path) {
  if (!path) {
    console.error('usage: node verdicts.mjs path/to/schema.graphql');
    return 2;
  }
  const schema = readSchema(path);
  const cases = readCases();
  const names = new Set();
  let differences = 0;
  for (const it of cases) {
    const name = `${it.rule}: ${it.name}`;
    if (names.has(name)) {
      console.log(`${name}: duplicate name`);
      differences += 1;
    }
    names.add(name);
    const found = findErrors(schema, it);
    if ((found.length === 0) !== it.valid) {
      const why = found.length === 0 ? 'the reference finds no error' : found[0].message;
      console.log(`${name}: recorded as ${it.valid ? 'valid' : 'invalid'}, but ${why}`);
      differences += 1;
    }
  }
  const valid = cases.filter((it) => it.valid).length;
  console.log(`${cases.length} cases, ${valid} valid, ${cases.length - valid} invalid, ${differences} differences`);
  return differences === 0 ? 0 : 1;
}

const isMain = process.argv[1] && realpathSync(process.argv[1]) === fileURLToPath(import.meta.url);
if (isMain) process.exitCode = main(process.argv[2]);
