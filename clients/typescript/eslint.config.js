// Run from the root of the repository (`npm run lint` does), where the schema is. A rule that is not as its set has it
// says why; "fixed" is what the project's design fixes for every client.
import graphql from '@graphql-eslint/eslint-plugin';

const { configs, parser } = graphql;
const schema = 'schema.graphql';
const operations = 'clients/typescript/src/**/*.graphql';

export default [
  {
    files: [schema, operations],
    languageOptions: { parser, parserOptions: { graphQLConfig: { schema, documents: operations } } },
    plugins: { '@graphql-eslint': graphql },
  },
  {
    files: [schema],
    rules: {
      ...configs['flat/schema-recommended'].rules,
      ...configs['flat/schema-relay'].rules,
      // Off: the printer of the schema chooses, one quote for one line and three for more; there is no setting.
      '@graphql-eslint/description-style': 'off',
      // Off: it knows no exceptions, and `Message.messageGroupUuid`, the uuid of a `MessageGroup`, is fixed.
      '@graphql-eslint/no-typename-prefix': 'off',
      // Stricter: the contract wants a description on every field, and clients read those of arguments too.
      '@graphql-eslint/require-description': [
        'error',
        {
          types: true,
          DirectiveDefinition: true,
          FieldDefinition: true,
          InputValueDefinition: true,
          EnumValueDefinition: true,
          // Those of `@include`, `@skip` and `@specifiedBy`, which the printer adds without.
          ignoredSelectors: ['DirectiveDefinition > InputValueDefinition'],
        },
      ],
      // Identifiers are fixed as `uuid: UUID!`; what only carries others (pages, edges, payloads) has no identity.
      '@graphql-eslint/strict-id-in-types': [
        'error',
        {
          acceptedIdNames: ['uuid'],
          acceptedIdTypes: ['UUID'],
          exceptions: { types: ['PageInfo'], suffixes: ['Connection', 'Edge', 'Payload'] },
        },
      ],
      // `messageGroups` is fixed with `first` and `after` alone: forward or backward is enough, half of one is not.
      '@graphql-eslint/relay-arguments': ['error', { includeBoth: false }],
      '@graphql-eslint/relay-edge-types': [
        'error',
        {
          // There is no `Node` interface: objects are found by `user`, `messageGroup` and `messages`, by their uuid.
          shouldImplementNode: false,
          // Connections are fixed with `nodes` beside `edges`, and `participants` is a list of two and no connection.
          listTypeCanWrapOnlyEdgeType: false,
        },
      ],
    },
  },
  {
    files: [operations],
    rules: {
      ...configs['flat/operations-recommended'].rules,
      // Identifiers are called `uuid` here; whatever has one must be asked for it, so that caches can tell objects.
      '@graphql-eslint/require-selections': ['error', { fieldName: 'uuid' }],
    },
  },
];
