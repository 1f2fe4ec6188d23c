import { checkName } from './check-options.js';
import { assertGid, newGid } from './gid.js';
import type { JobBuilder, JobOptions } from './job.js';
import { argsToJson } from './json.js';
import { parseArgs, type Schema } from './schema.js';
import type { AnyStep } from './step.js';
import { definitionOf } from './step-definition.js';
import { SteppingError } from './stepping-error.js';
import type { NewJob, StoredStep } from './transaction-manager.js';

/** Largest job, all steps together; longer work is chained by `ctx.createJob`. Unit: bytes. */
const MAX_JOB_BYTES = 4 * 1_024 * 1_024;
/** What a step takes in the stored job besides its name, queue and args. Unit: bytes. */
const STEP_OVERHEAD_BYTES = 20;

/** What a job needs to know of its app while it is put together. */
export interface DraftRules {
  readonly maxArgsBytes: number;
  isListed(step: string): boolean;
}

/** A job being put together: all that can be checked before anything is written is checked here. */
export class JobDraft implements JobBuilder {
  readonly gid: string;
  /** Tells this start from any other of the same gid (R4). */
  readonly instance: string = newGid();
  protected readonly drawn: boolean;
  readonly tenant: string | undefined;
  readonly #rules: DraftRules;
  readonly #steps: StoredStep[] = [];
  readonly #schemas: (Schema | undefined)[] = [];
  #bytes = 0;
  #sealed = false;

  /** @throws {@link SteppingError} `GID_INVALID`, `CONFIG_INVALID` (tenant) */
  constructor({ gid, tenant }: JobOptions, rules: DraftRules) {
    if (gid !== undefined) assertGid(gid);
    if (tenant !== undefined) checkName('tenant of createJob', tenant);
    this.gid = gid ?? newGid();
    this.drawn = gid === undefined;
    this.tenant = tenant;
    this.#rules = rules;
  }

  get stepCount(): number {
    return this.#steps.length;
  }

  addStep(step: AnyStep, ...[args]: [args?: unknown]): this {
    if (this.#sealed) throw alreadyStarted(this.gid, 'No step can be added to it; add all steps before, or start another job.');
    const { name, queue, schema, implementation } = definitionOf(step);
    if (implementation && !this.#rules.isListed(name)) {
      throw new SteppingError(
        'STEP_UNKNOWN',
        `Step ${name} is implemented in this process, but not listed. Add it to steps: […] of createStepping; or, if another process runs it, add what declareStep(…) returned.`,
        { step: name },
      );
    }
    const json = argsToJson(args, name);
    const bytes = json === undefined ? 0 : Buffer.byteLength(json);
    if (bytes > this.#rules.maxArgsBytes) throw argsTooLarge(name, bytes, this.#rules.maxArgsBytes);
    this.#steps.push({ name, queue, args: json });
    this.#schemas.push(schema);
    this.#bytes += bytes + Buffer.byteLength(name) + STEP_OVERHEAD_BYTES;
    return this;
  }

  /** Ends the adding of steps, and checks their args in the form that is stored. */
  protected async seal(): Promise<Pick<NewJob, 'gid' | 'instance' | 'drawn' | 'steps'>> {
    const { gid, instance } = this;
    if (this.#steps.length === 0) {
      throw new SteppingError(
        'JOB_EMPTY',
        `Job ${gid} has no steps. Add one by addStep(…); where there may be none, look at stepCount first.`,
        { gid },
      );
    }
    if (this.#bytes > MAX_JOB_BYTES) {
      throw new SteppingError(
        'JOB_TOO_LARGE',
        `Job ${gid} takes ${this.#bytes} bytes with its ${this.#steps.length} steps, more than ${MAX_JOB_BYTES}. Store the data elsewhere and pass its id, or chain jobs by ctx.createJob in a step.`,
        { gid, bytes: this.#bytes, maxBytes: MAX_JOB_BYTES },
      );
    }
    this.#sealed = true;
    for (const [index, { name, args }] of this.#steps.entries()) {
      const schema = this.#schemas[index];
      if (isChecked(schema, args)) await checkStored(schema, args, `step ${index + 1} (${name}) of job ${gid}`);
    }
    return { gid, instance, drawn: this.drawn, steps: this.#steps };
  }
}

export function alreadyStarted(gid: string, hint: string): SteppingError<'JOB_ALREADY_STARTED'> {
  return new SteppingError('JOB_ALREADY_STARTED', `Job ${gid} was started already. ${hint}`, { gid });
}

async function checkStored(schema: Schema | undefined, json: string | undefined, where: string): Promise<void> {
  if (!schema) {
    throw new SteppingError(
      'ARGS_INVALID',
      `${where} was given args, but takes none. Leave them out, or give the step args: a schema or unchecked<T>().`,
    );
  }
  await parseArgs(schema, json === undefined ? undefined : JSON.parse(json), where);
}

/** Nothing to check without args and schema, nor by `unchecked<T>()`. */
function isChecked(schema: Schema | undefined, json: string | undefined): boolean {
  return schema ? schema['~standard'].vendor !== 'stepping' : json !== undefined;
}

function argsTooLarge(step: string, bytes: number, maxBytes: number): SteppingError<'ARGS_TOO_LARGE'> {
  return new SteppingError(
    'ARGS_TOO_LARGE',
    `The args of step ${step} take ${bytes} bytes as JSON, more than maxArgsBytes, ${maxBytes}. Store the data elsewhere and pass its id, or raise maxArgsBytes of createStepping.`,
    { step, bytes, maxBytes },
  );
}
