import type { JobBuilder } from '../job.js';
import type { AddArgs, AnyStep } from '../step.js';
import { SteppingError } from '../stepping-error.js';

/** The job as the body of an `inTransaction` sees it: it can add steps, and nothing else, for as long as the body runs. */
export class BodyJob implements JobBuilder {
  readonly #job: JobBuilder;
  #ended = false;

  constructor(job: JobBuilder) {
    this.#job = job;
  }

  get gid(): string {
    return this.#job.gid;
  }

  get stepCount(): number {
    return this.#job.stepCount;
  }

  /** @throws {@link SteppingError} `JOB_ALREADY_STARTED` after the end of the body */
  addStep<S extends AnyStep>(step: S, ...args: AddArgs<S>): this {
    if (this.#ended) {
      throw new SteppingError(
        'JOB_ALREADY_STARTED',
        `A step was added to job ${this.gid} after the body of its inTransaction had ended. Await everything that the body does.`,
        { gid: this.gid },
      );
    }
    this.#job.addStep(step, ...args);
    return this;
  }

  end(): void {
    this.#ended = true;
  }
}
