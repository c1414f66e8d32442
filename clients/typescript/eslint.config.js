// `npm run lint` runs in the root of the repository, where the schema is. Each rule that differs from its set says why.
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
      // Off: the printer of the schema decides, and it has no setting for this.
      '@graphql-eslint/description-style': 'off',
      // Off: the rule has no exceptions, and the name of `Message.messageGroupUuid` is fixed.
      '@graphql-eslint/no-typename-prefix': 'off',
      // Stricter: fields and arguments need descriptions as well.
      '@graphql-eslint/require-description': [
        'error',
        {
          types: true,
          DirectiveDefinition: true,
          FieldDefinition: true,
          InputValueDefinition: true,
          EnumValueDefinition: true,
          // The printer adds `@include`, `@skip` and `@specifiedBy` without descriptions of their arguments.
          ignoredSelectors: ['DirectiveDefinition > InputValueDefinition'],
        },
      ],
      // Pages, edges, payloads and events only carry other objects, so they have no id.
      '@graphql-eslint/strict-id-in-types': [
        'error',
        {
          exceptions: {
            types: ['PageInfo', 'FeedPage', 'MessageAdded', 'FeedReady', 'FeedReset', 'TypingStarted', 'ReadMarkerMoved'],
            suffixes: ['Connection', 'Edge', 'Payload'],
          },
        },
      ],
      // `messageGroups` pages forward only.
      '@graphql-eslint/relay-arguments': ['error', { includeBoth: false }],
      '@graphql-eslint/relay-edge-types': [
        'error',
        {
          // The schema has no `Node` interface.
          shouldImplementNode: false,
          // Connections have `nodes` beside `edges`, and `participants` is a list of two.
          listTypeCanWrapOnlyEdgeType: false,
        },
      ],
    },
  },
  {
    files: [operations],
    rules: {
      ...configs['flat/operations-recommended'].rules,
      // Client caches need the id of each object.
      '@graphql-eslint/require-selections': ['error', { fieldName: 'id' }],
    },
  },
];
