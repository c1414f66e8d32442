import type { CodegenConfig } from '@graphql-codegen/cli';

const config: CodegenConfig = {
  schema: '../schema.graphql',
  documents: 'src/**/*.graphql',
  generates: {
    'src/generated/': {
      preset: 'client',
      presetConfig: {
        // A component reads only the fields of its own fragment.
        fragmentMasking: { unmaskFunctionName: 'unmask' },
      },
      config: {
        // A scalar that is not listed here is an error, not `any`.
        strictScalars: true,
        scalars: { DateTime: 'string', UUID: 'string' },
        avoidOptionals: { field: true },
        onlyOperationTypes: true,
        enumsAsTypes: true,
        useTypeImports: true,
        emitLegacyCommonJSImports: false,
      },
    },
  },
};

export default config;
