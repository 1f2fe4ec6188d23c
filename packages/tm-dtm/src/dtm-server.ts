/** A message as DTM takes it. Times are in seconds there. */
export interface DtmMessage {
  readonly gid: string;
  readonly trans_type: 'msg';
  readonly steps: readonly { readonly action: string }[];
  /** One text for each step. */
  readonly payloads: readonly string[];
  readonly query_prepared: string;
  readonly wait_result?: boolean;
  readonly timeout_to_fail?: number;
  readonly retry_interval?: number;
  readonly request_timeout?: number;
}

/** State of a message on the server. */
export type DtmStatus = 'prepared' | 'submitted' | 'succeed' | 'failed';

export interface DtmTransaction {
  readonly gid: string;
  readonly trans_type: string;
  readonly status: DtmStatus;
  readonly query_prepared?: string;
  readonly create_time?: string;
  readonly next_cron_time?: string;
  readonly rollback_reason?: string;
}

export interface DtmBranch {
  readonly branch_id: string;
  readonly op: string;
  readonly status: 'prepared' | 'succeed' | 'failed';
  readonly url?: string;
  /** The payload, decoded. */
  readonly payload: string;
}

/** Whether the server did it; `refused`: 409, the message is in a state that forbids it. */
export type DtmAnswer = 'done' | 'refused';

/**
 * What we ask of a DTM server; over HTTP now. Rejects with `STORE_UNAVAILABLE` only when the server surely did not get the request (connection refused, name not found, …), with
 * `STORE_REFUSED` when what answered is no DTM server or refuses the message for good, and with any other error when the outcome is unknown.
 */
export interface DtmServer {
  prepare(message: DtmMessage): Promise<DtmAnswer>;
  /**
   * Takes the very message that was prepared, whole. One without its steps would be taken for one without any: it would be marked as succeeded where the query-back was first, and nothing
   * run. DTM starts the steps again if the message is submitted already, so whoever is not sure looks by {@link query} first. With `wait_result` it is refused, or rejects, when the steps
   * have not all run in the first pass; the message is submitted all the same.
   */
  submit(message: DtmMessage): Promise<DtmAnswer>;
  abort(gid: string): Promise<DtmAnswer>;
  forceStop(gid: string): Promise<DtmAnswer>;
  query(gid: string): Promise<{ readonly transaction: DtmTransaction; readonly branches: readonly DtmBranch[] } | undefined>;
  /** A page of all messages of the server, those of others among them. */
  all(filter: {
    readonly status?: DtmStatus;
    readonly createdAfter?: Date;
    readonly limit: number;
    readonly position?: string;
  }): Promise<{ readonly transactions: readonly DtmTransaction[]; readonly nextPosition: string | undefined }>;
  version(): Promise<string>;
}
