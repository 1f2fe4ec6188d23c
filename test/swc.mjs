/** How Jest, and child processes started with `test/register.mjs`, compile TypeScript: ES modules, legacy decorators with metadata. */
export const swcOptions = {
  swcrc: false,
  configFile: false,
  jsc: {
    target: 'es2023',
    keepClassNames: true,
    parser: { syntax: 'typescript', decorators: true },
    transform: { legacyDecorator: true, decoratorMetadata: true },
  },
  module: { type: 'es6' },
  sourceMaps: 'inline',
};
