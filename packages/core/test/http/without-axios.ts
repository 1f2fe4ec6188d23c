// Runs where axios cannot be found, and tells what happened on its standard output.
import { registerHooks } from 'node:module';

let asked = 0;
registerHooks({
  resolve(specifier, context, nextResolve) {
    if (specifier !== 'axios') return nextResolve(specifier, context);
    asked++;
    return nextResolve('axios-is-not-installed-here', context); // fails as a missing package does
  },
});

await import('@stepping/core');
const { httpStep } = await import('@stepping/core/http');
const { runStep } = await import('@stepping/core/testing');
const step = httpStep({ name: 'test.http', request: () => ({ url: 'http://127.0.0.1:1/' }) });
const askedBefore = asked;
const error: any = await runStep(step).catch((thrown: any) => thrown);
console.log(JSON.stringify({ askedBefore, asked, code: error.code, message: error.message }));
