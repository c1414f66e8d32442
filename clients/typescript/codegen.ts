import type { CodegenConfig } from '@graphql-codegen/cli';

const config: CodegenConfig = {
  schema: '../../schema.graphql',
  documents: 'src/**/*.graphql',
  generates: {
    'src/generated/': {
      preset: 'client',
      presetConfig: {
        // The functions of operations.ts return whole results, so fragments are not masked.
        fragmentMasking: false,
      },
      config: {
        // Documents are strings, so the browser needs no GraphQL library.
        documentMode: 'string',
        // A scalar that is not listed here is an error, not `any`.
        strictScalars: true,
        scalars: { DateTime: 'string', UUID: 'string' },
        // A field of a response is never missing: `x: T | null`. No operation selects `__typename`.
        avoidOptionals: { field: true },
        skipTypename: true,
        onlyOperationTypes: true,
        enumsAsTypes: true,
        useTypeImports: true,
        emitLegacyCommonJSImports: false,
      },
    },
  },
};

export default config;
