import { stripTypeScriptTypes } from 'node:module';

// A README's program is an ES module in TypeScript: imports, then statements, with top-level await. These are the same program as others write it.

/** JavaScript, `require`, no top-level await. */
export function asCommonJs(source) {
  const { imports, body } = parts(stripTypeScriptTypes(source));
  const requires = imports.map((line) =>
    line
      .replace(
        /^import\s*\{([^}]*)\}\s*from\s*(.+);$/s,
        (_, names, from) => `const {${names.replaceAll(/\s+as\s+/g, ': ')}} = require(${from});`,
      )
      .replace(/^import\s+(\w+)\s+from\s*(.+);$/, 'const $1 = require($2).default;'),
  );
  return `${requires.join('\n')}\n\nasync function main() {\n${body}\n}\n\nmain().catch((error) => {\n  console.error(error);\n  process.exitCode = 1;\n});\n`;
}

/** TypeScript that compiles to `require`: a `.cts` file. */
export function asTypedCommonJs(source) {
  const { imports, body } = parts(source);
  return `${imports.join('\n')}\n\nasync function main() {\n${body}\n}\n\nvoid main();\n`;
}

/** A test that passes when the program prints what it should. */
export function asTest(source, prints) {
  const { imports, body } = parts(source);
  return `${imports.join('\n')}

const printed: string[] = [];

test('the program of the README', async () => {
  console.log = (...values: unknown[]) => void printed.push(values.join(' '));
${body}
  expect(printed.join('\\n')).toBe(${JSON.stringify(prints)});
});
`;
}

function parts(source) {
  const imports = [...source.matchAll(/^import\s[^;]*;$/gm)].map(([statement]) => statement.trim());
  return { imports, body: source.replaceAll(/^import\s[^;]*;\n/gm, '').trim() };
}
