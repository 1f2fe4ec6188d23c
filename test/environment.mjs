import { TestEnvironment } from 'jest-environment-node';
import { callSupervisor } from './services/supervisor-process.mjs';

/** Node's environment, which also tells the test services when a file is done: its databases are dropped, or kept if a test failed. */
export default class SteppingEnvironment extends TestEnvironment {
  #testPath;
  #failed = false;
  #finished = false;

  constructor(config, context) {
    super(config, context);
    this.#testPath = context.testPath;
  }

  handleTestEvent(event) {
    if (event.name === 'test_done' && event.test.errors.length > 0) this.#failed = true;
    if (event.name === 'hook_failure' || event.name === 'error') this.#failed = true;
    if (event.name === 'run_finish') this.#finished = true;
  }

  async teardown() {
    await callSupervisor('file-done', { testPath: this.#testPath, failed: this.#failed || !this.#finished });
    await super.teardown();
  }
}
