import type { LedgerLine } from '../outside/ledger.js';
import type { Mail } from '../outside/smtp-server.js';
import type { Answer, DemoOrder } from './place-orders.js';
import type { ShopRecords } from './shop-records.js';

/** A line of a step log. `life`: which process of the service wrote it, from 0. */
export interface StepLine {
  readonly life: number;
  readonly what: 'started' | 'succeeded' | 'failed';
  readonly gid: string;
  readonly step: string;
  readonly stepIndex: number;
  readonly attempt: number;
}

/** A SIGKILL: which life of the service it ended, and the request that the payment provider had not answered then. */
export interface Kill {
  readonly life: number;
  readonly at: number;
  readonly openRequest: string;
}

/** All that was seen from outside the service. */
export interface Evidence {
  readonly orders: readonly DemoOrder[];
  readonly answers: readonly Answer[];
  readonly initialStock: ReadonlyMap<string, number>;
  readonly shop: ShopRecords;
  readonly ledger: readonly LedgerLine[];
  readonly mails: readonly Mail[];
  readonly steps: readonly StepLine[];
  readonly kills: readonly Kill[];
  readonly jobsFinished: number;
}

export interface Findings {
  readonly ordersPlaced: number;
  readonly jobsFinished: number;
  readonly stepsRun: number;
  readonly stepsRepeated: number;
  readonly ordersLost: number;
  readonly acceptedTwice: number;
  readonly chargedTwice: number;
  readonly withoutOrder: number;
  readonly outOfOrder: number;
  /** Every single thing that is not as it should be; empty: the audit passed. */
  readonly problems: readonly string[];
}

type Charged = Extract<LedgerLine, { what: 'charged' }>;

/** Compares what the clients were told with what the database, the payment provider and the mailbox say. */
export function audit(evidence: Evidence): Findings {
  const books = openBooks(evidence);
  const lost = ordersLost(books);
  const twice = acceptedTwice(books);
  const charged = chargedTwice(books);
  const phantoms = withoutOrder(books);
  const disorder = outOfOrder(books);
  const repeated = stepsRepeated(evidence);
  const jobsFinished =
    evidence.jobsFinished === books.accepted.size
      ? []
      : [`${books.accepted.size} orders were placed, but ${evidence.jobsFinished} jobs finished`];
  return {
    ordersPlaced: books.accepted.size,
    jobsFinished: evidence.jobsFinished,
    stepsRun: evidence.steps.filter(({ what }) => what === 'started').length,
    stepsRepeated: repeated.count,
    ordersLost: lost.length,
    acceptedTwice: twice.length,
    chargedTwice: charged.length,
    withoutOrder: phantoms.length,
    outOfOrder: disorder.length,
    problems: [
      ...lost,
      ...twice,
      ...charged,
      ...phantoms,
      ...disorder,
      ...wrongStock(books),
      ...jobsFinished,
      ...missedKills(evidence),
      ...repeated.problems,
    ],
  };
}

/** The evidence by order. */
interface Books {
  readonly evidence: Evidence;
  readonly accepted: ReadonlySet<string>;
  readonly refused: ReadonlySet<string>;
  readonly rows: ReadonlyMap<string, ShopRecords['orders']>;
  readonly reservations: ReadonlyMap<string, ShopRecords['reservations']>;
  readonly charges: ReadonlyMap<string, readonly Charged[]>;
  readonly mails: ReadonlyMap<string, readonly Mail[]>;
}

function openBooks(evidence: Evidence): Books {
  const told = (outcome: Answer['outcome']) =>
    new Set(evidence.answers.filter((answer) => answer.outcome === outcome).map(({ requestId }) => requestId));
  return {
    evidence,
    accepted: told('accepted'),
    refused: told('refused'),
    rows: Map.groupBy(evidence.shop.orders, ({ requestId }) => requestId),
    reservations: Map.groupBy(evidence.shop.reservations, ({ orderId }) => orderId),
    charges: Map.groupBy(
      evidence.ledger.filter((line) => line.what === 'charged'),
      ({ reference }) => reference,
    ),
    mails: Map.groupBy(evidence.mails, ({ reference }) => reference),
  };
}

/** Orders that the client was told of, or that are in the table, and whose job did not do all of its work. */
function ordersLost({ evidence, accepted, rows, reservations, charges, mails }: Books): string[] {
  const answered = new Set(evidence.answers.map(({ requestId }) => requestId));
  const unanswered = evidence.orders
    .filter(({ requestId }) => !answered.has(requestId))
    .map(({ requestId }) => `order ${requestId} was never answered`);
  const undone = [...new Set([...accepted, ...rows.keys()])].flatMap((requestId) => {
    const order = rows.get(requestId)?.[0];
    if (!order) return [`order ${requestId} was accepted, but is not in the database`];
    const missing = [
      charges.has(requestId) || 'charged',
      reservations.has(order.id) || 'taken from stock',
      mails.has(requestId) || 'confirmed by mail',
      (order.status === 'done' && order.doneAt !== undefined) || 'marked done',
    ].filter((what) => what !== true);
    return missing.length === 0 ? [] : [`order ${requestId} was accepted, but never ${missing.join(', never ')}`];
  });
  return [...unanswered, ...undone];
}

function acceptedTwice({ evidence, rows, reservations, mails }: Books): string[] {
  const created = new Map(evidence.answers.map((answer) => [answer.requestId, answer.created]));
  return [...rows].flatMap(([requestId, [order, ...more]]) => {
    const messageIds = new Set(mails.get(requestId)?.map(({ messageId }) => messageId));
    const twice = [
      more.length > 0 && `is in the database ${more.length + 1} times`,
      (created.get(requestId) ?? 0) > 1 && 'was answered "created" twice',
      order && (reservations.get(order.id)?.length ?? 0) > 1 && 'was taken from stock twice',
      messageIds.size > 1 && `was confirmed by ${messageIds.size} different mails`,
    ].filter((what) => typeof what === 'string');
    return twice.length === 0 ? [] : [`order ${requestId} ${twice.join(', ')}`];
  });
}

function chargedTwice({ charges }: Books): string[] {
  return [...charges].filter(([, of]) => of.length > 1).map(([requestId, of]) => `order ${requestId} was charged ${of.length} times`);
}

/** Orders in the table that their clients were told are refused, charges and mails that belong to no order, charges of another amount. */
function withoutOrder({ refused, rows, charges, mails }: Books): string[] {
  const kept = [...refused]
    .filter((requestId) => rows.has(requestId))
    .map((requestId) => `order ${requestId} was refused, but is in the database`);
  const charged = [...charges].flatMap(([requestId, [charge]]) => {
    const order = rows.get(requestId)?.[0];
    if (!order) return [`${requestId} was charged, but there is no such order`];
    return order.total === charge?.amount ? [] : [`order ${requestId} costs ${order.total}, but ${charge?.amount} was charged`];
  });
  const mailed = [...mails.keys()]
    .filter((requestId) => !rows.has(requestId))
    .map((requestId) => `${requestId} was confirmed by mail, but there is no such order`);
  return [...kept, ...charged, ...mailed];
}

/** Charged, then taken from stock, then confirmed, then marked done: by the clocks of those to whom it happened. */
function outOfOrder({ rows, reservations, charges, mails, evidence }: Books): string[] {
  const byClock = [...rows].flatMap(([requestId, [order]]) => {
    const moments = [
      { what: 'charged', at: charges.get(requestId)?.[0]?.at },
      { what: 'taken from stock', at: order && reservations.get(order.id)?.[0]?.madeAt },
      { what: 'confirmed by mail', at: mails.get(requestId)?.[0]?.at },
      { what: 'marked done', at: order?.doneAt },
    ].filter((moment): moment is { what: string; at: number } => moment.at !== undefined);
    const wrong = moments.findIndex(({ at }, index) => index > 0 && at < (moments[index - 1] as { at: number }).at);
    return wrong < 0 ? [] : [`order ${requestId} was ${moments[wrong]?.what} before it was ${moments[wrong - 1]?.what}`];
  });
  const byLog = [...Map.groupBy(evidence.steps, ({ gid }) => gid)].flatMap(([gid, lines]) => {
    const started = [...new Set(lines.filter(({ what }) => what === 'started').map(({ stepIndex }) => stepIndex))];
    return started.every((stepIndex, position) => stepIndex === position)
      ? []
      : [`job ${gid} started its steps in the order ${started.join(', ')}`];
  });
  return [...byClock, ...byLog];
}

function wrongStock({ evidence, accepted }: Books): string[] {
  const expected = new Map(evidence.initialStock);
  for (const order of evidence.orders) {
    if (!accepted.has(order.requestId)) continue;
    for (const { sku, quantity } of order.lines) expected.set(sku, (expected.get(sku) ?? 0) - quantity);
  }
  return [...expected]
    .filter(([sku, left]) => evidence.shop.stock.get(sku) !== left)
    .map(([sku, left]) => `there are ${evidence.shop.stock.get(sku)} of ${sku} left, but should be ${left}`);
}

/** Kills that did not hit an open request. The ledger says so itself. */
function missedKills({ kills, ledger }: Evidence): string[] {
  return kills
    .filter(({ at, openRequest }) => {
      const lines = ledger.filter((line) => line.request === openRequest);
      const received = lines.some((line) => line.what === 'received' && line.at <= at);
      return !received || lines.some((line) => line.what === 'answered' && line.at <= at);
    })
    .map(({ life }) => `kill ${life + 1} hit no open request at the payment provider`);
}

/** Steps that were running when their process was killed, and were started again by a later one. */
function stepsRepeated({ steps, kills }: Evidence): { count: number; problems: string[] } {
  const keyOf = ({ gid, stepIndex }: StepLine) => `${gid}/${stepIndex}`;
  const cutOff = kills.flatMap(({ life }) => {
    const running = new Map<string, number>();
    for (const line of steps) {
      if (line.life !== life) continue;
      if (line.what === 'started') running.set(keyOf(line), life);
      else running.delete(keyOf(line));
    }
    return [...running];
  });
  const repeated = cutOff.filter(([key, life]) => steps.some((line) => line.life > life && line.what === 'started' && keyOf(line) === key));
  const problems = kills.length > 0 && repeated.length === 0 ? ['no step was repeated: the kills hit nothing'] : [];
  return { count: repeated.length, problems };
}
