import type { CodegenConfig } from '@graphql-codegen/cli';

const config: CodegenConfig = {
  schema: '../../schema.graphql',
  documents: 'src/**/*.graphql',
  generates: {
    'src/generated/': {
      preset: 'client',
      presetConfig: {
        // Plain types: the functions of operations.ts hand whole results on, so there is nothing to hide.
        fragmentMasking: false,
      },
      config: {
        // Documents as strings: what is sent needs no GraphQL library in the browser.
        documentMode: 'string',
        // A scalar that is not listed here is an error, not `any`.
        strictScalars: true,
        scalars: { DateTime: 'string', UUID: 'string' },
        // `x: T | null` in answers, as they are: a field is never left out. No `__typename`, which no operation asks for.
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
