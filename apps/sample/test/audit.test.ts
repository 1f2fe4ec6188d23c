import { describe, expect, it } from '@jest/globals';
import { audit, type Evidence, type Findings, type StepLine } from '../src/demo/audit.js';

const STEPS = ['order.charge-card', 'order.reserve-stock', 'order.send-confirmation', 'order.mark-done'];

describe('The audit of the demo', () => {
  it('passes when every order was done once and in order', () => {
    expect(audit(sound())).toEqual({
      ordersPlaced: 2,
      jobsFinished: 2,
      stepsRun: 9,
      stepsRepeated: 1,
      ordersLost: 0,
      acceptedTwice: 0,
      chargedTwice: 0,
      withoutOrder: 0,
      outOfOrder: 0,
      problems: [],
    });
  });

  it('passes when a mail came twice with one Message-ID, which a mailbox shows once', () => {
    const evidence = sound();
    expect(audit({ ...evidence, mails: [...evidence.mails, ...evidence.mails] }).problems).toEqual([]);
  });

  describe('counts an order as lost', () => {
    it('when it was accepted, but is not in the database', () => {
      fails({ shop: { ...sound().shop, orders: sound().shop.orders.slice(1) } }, 'ordersLost', 'is not in the database');
    });
    it('when it was never charged', () => {
      fails({ ledger: sound().ledger.filter(({ what }) => what !== 'charged') }, 'ordersLost', 'never charged');
    });
    it('when its stock was never taken', () => {
      fails({ shop: { ...sound().shop, reservations: [] } }, 'ordersLost', 'never taken from stock');
    });
    it('when it was never confirmed', () => {
      fails({ mails: sound().mails.slice(1) }, 'ordersLost', 'never confirmed by mail');
    });
    it('when it was never marked done', () => {
      const orders = sound().shop.orders.map((order) => ({ ...order, status: 'placed', doneAt: undefined }));
      fails({ shop: { ...sound().shop, orders } }, 'ordersLost', 'never marked done');
    });
    it('when its client never got an answer', () => {
      fails({ answers: sound().answers.slice(0, 2) }, 'ordersLost', 'never answered');
    });
  });

  describe('counts an order as accepted twice', () => {
    it('when it is in the database twice', () => {
      const { shop } = sound();
      fails(
        { shop: { ...shop, orders: [...shop.orders, { ...first(shop.orders), id: 'again' }] } },
        'acceptedTwice',
        'is in the database 2 times',
      );
    });
    it('when two POSTs of it were answered "created"', () => {
      fails({ answers: sound().answers.map((answer) => ({ ...answer, created: 2 })) }, 'acceptedTwice', 'was answered "created" twice');
    });
    it('when its stock was taken by two jobs', () => {
      const { shop } = sound();
      fails(
        { shop: { ...shop, reservations: [...shop.reservations, { ...first(shop.reservations), id: 'other' }] } },
        'acceptedTwice',
        'was taken from stock twice',
      );
    });
    it('when it was confirmed by two different mails', () => {
      const { mails } = sound();
      fails({ mails: [...mails, { ...first(mails), messageId: '<other>' }] }, 'acceptedTwice', 'was confirmed by 2 different mails');
    });
  });

  it('counts an order that was charged under two keys as charged twice', () => {
    const { ledger } = sound();
    const charge = first(ledger.filter((line) => line.what === 'charged'));
    fails({ ledger: [...ledger, { ...charge, key: 'other/000' }] }, 'chargedTwice', 'was charged 2 times');
  });

  describe('counts as charged or mailed without an order', () => {
    it('a charge for an order that rolled back', () => {
      const { ledger } = sound();
      const line = { what: 'charged', at: 5, request: 'r9', key: 'g9/000', reference: 'refused', amount: 100 } as const;
      fails({ ledger: [...ledger, line] }, 'withoutOrder', 'refused was charged, but there is no such order');
    });
    it('a mail for an order that rolled back', () => {
      const { mails } = sound();
      fails({ mails: [...mails, { ...first(mails), reference: 'refused' }] }, 'withoutOrder', 'refused was confirmed by mail');
    });
    it('a refused order that is in the database', () => {
      const { shop } = sound();
      fails(
        { shop: { ...shop, orders: [...shop.orders, { ...first(shop.orders), id: 'x', requestId: 'refused' }] } },
        'withoutOrder',
        'was refused, but is',
      );
    });
    it('a charge of another amount', () => {
      const ledger = sound().ledger.map((line) => (line.what === 'charged' ? { ...line, amount: 1 } : line));
      fails({ ledger }, 'withoutOrder', 'costs 100, but 1 was charged');
    });
  });

  describe('counts an order as out of order', () => {
    it('when its mail came before its stock was taken', () => {
      fails(
        { mails: sound().mails.map((mail) => ({ ...mail, at: 15 })) },
        'outOfOrder',
        'was confirmed by mail before it was taken from stock',
      );
    });
    it('when its job began with another step', () => {
      const steps = sound().steps.filter(({ gid, stepIndex }) => gid !== 'g1' || stepIndex !== 0);
      fails({ steps }, 'outOfOrder', 'job g1 started its steps in the order 1, 2, 3');
    });
  });

  describe('fails, though nothing is wrong with the orders,', () => {
    it('when a kill hit no open request', () => {
      const ledger = [...sound().ledger, { what: 'answered', at: 11, request: 'r1', status: 200 } as const];
      expect(audit({ ...sound(), ledger }).problems).toEqual(['kill 1 hit no open request at the payment provider']);
    });
    it('when no step was repeated', () => {
      const steps = sound().steps.filter(({ life }) => life === 1);
      expect(audit({ ...sound(), steps }).problems).toContain('no step was repeated: the kills hit nothing');
    });
    it('when the stock that is left is not what it should be', () => {
      const shop = { ...sound().shop, stock: new Map([['tea', 5]]) };
      expect(audit({ ...sound(), shop }).problems).toEqual(['there are 5 of tea left, but should be 8']);
    });
    it('when there are fewer finished jobs than orders', () => {
      expect(audit({ ...sound(), jobsFinished: 1 }).problems).toEqual(['2 orders were placed, but 1 jobs finished']);
    });
  });
});

/** Doctored evidence must be found out: in its row of the table, and in words. */
function fails(doctored: Partial<Evidence>, row: keyof Findings, problem: string): void {
  const findings = audit({ ...sound(), ...doctored });
  expect(findings[row]).toBeGreaterThan(0);
  expect(findings.problems.join('\n')).toContain(problem);
}

function first<T>(all: readonly T[]): T {
  return all[0] as T;
}

/** Two orders done, one refused; the service was killed once, while the first was being charged. */
function sound(): Evidence {
  const order = (requestId: string, blocked = false) => ({
    requestId,
    customer: 'a@b.example',
    lines: [{ sku: 'tea', quantity: 1, unitPrice: 100 }],
    total: 100,
    blocked,
  });
  const step = (life: number, gid: string, stepIndex: number, what: StepLine['what']): StepLine => ({
    life,
    gid,
    stepIndex,
    what,
    step: STEPS[stepIndex] as string,
    attempt: 1,
  });
  const wholeJob = (gid: string) => STEPS.flatMap((_, index) => [step(1, gid, index, 'started'), step(1, gid, index, 'succeeded')]);
  return {
    orders: [order('first'), order('second'), order('refused', true)],
    answers: [
      { requestId: 'first', outcome: 'accepted', created: 1 },
      { requestId: 'second', outcome: 'accepted', created: 0 },
      { requestId: 'refused', outcome: 'refused', created: 0 },
    ],
    initialStock: new Map([['tea', 10]]),
    shop: {
      orders: [
        { id: 'o1', requestId: 'first', total: 100, status: 'done', doneAt: 40 },
        { id: 'o2', requestId: 'second', total: 100, status: 'done', doneAt: 40 },
      ],
      reservations: [
        { id: 'r1', orderId: 'o1', madeAt: 20 },
        { id: 'r2', orderId: 'o2', madeAt: 20 },
      ],
      stock: new Map([['tea', 8]]),
    },
    ledger: [
      { what: 'received', at: 9, request: 'r1', key: 'g1/000', reference: 'first', amount: 100 },
      { what: 'charged', at: 10, request: 'r1', key: 'g1/000', reference: 'first', amount: 100 },
      { what: 'abandoned', at: 13, request: 'r1' },
      { what: 'charged', at: 10, request: 'r2', key: 'g2/000', reference: 'second', amount: 100 },
    ],
    mails: [
      { at: 30, to: ['a@b.example'], messageId: '<g1.002>', reference: 'first', raw: '' },
      { at: 30, to: ['a@b.example'], messageId: '<g2.002>', reference: 'second', raw: '' },
    ],
    steps: [step(0, 'g1', 0, 'started'), ...wholeJob('g1'), ...wholeJob('g2')],
    kills: [{ life: 0, at: 12, openRequest: 'r1' }],
    jobsFinished: 2,
  };
}
