import { describe, expect, it } from '@jest/globals';
import type { Measured, Values, WorkloadName } from '../measured.js';
import { barsTable } from './bars.js';
import { chart } from './chart.js';
import { seriesOf } from './series.js';
import { table } from './table.js';

describe('A table of results', () => {
  const measured = [rate('W5', 'dbos', 10), rate('W5', 'stepping', 500, 1), rate('W5', 'stepping', 700, 2), rate('W5', 'stepping', 600, 3)];

  it('has the fastest first, the median of each and its spread', () => {
    expect(table('W5', seriesOf(measured, 'PostgreSQL', 'W5')).split('\n')).toEqual([
      '| | jobs/s |',
      '| --- | ---: |',
      '| stepping | 600 (500–700) |',
      '| dbos | 10.0 |',
    ]);
  });

  it('says what failed', () => {
    const failed: Measured = { ...rate('W5', 'bullmq', 0), values: {}, error: 'no | Redis' };
    expect(table('W5', seriesOf([...measured, failed], 'PostgreSQL', 'W5'))).toContain('| bullmq | failed: no / Redis |');
  });

  it('is drawn as bars that end where their median does', () => {
    const svg = chart('W5', 'a machine', 'W5', seriesOf([rate('W5', 'a & b', 100), rate('W5', 'stepping', 50)], 'PostgreSQL', 'W5'));
    const widths = [...svg.matchAll(/class="(?:own|peer)" .*? width="([\d.]+)"/g)].map(([, width]) => Number(width));
    expect(widths[0]).toBeCloseTo(2 * (widths[1] as number));
    expect(svg).toContain('a &amp; b');
  });
});

describe('A bar', () => {
  it('is compared within each repetition, and the median of the ratios counts', () => {
    const measured = [
      ...[100, 1_000, 200].map((value, i) => rate('W1', 'stepping', value, i + 1)),
      ...[10, 500, 30].map((value, i) => rate('W1', 'pg-boss', value, i + 1)),
    ];
    expect(barsTable(measured)).toContain('| W1 | enqueue to pg-boss | 6.67 (2.00–10.0) | ≥ 5 |  | holds |');
  });

  it('that is missed says so', () => {
    expect(barsTable([rate('W1', 'stepping', 40), rate('W1', 'pg-boss', 10)])).toContain('| 4.00 | ≥ 5 |  | **missed** |');
  });

  it('that was not measured is not there', () => {
    expect(barsTable([rate('W1', 'stepping', 40)])).toBeUndefined();
  });
});

function rate(workload: WorkloadName, name: string, value: number, repetition = 1): Measured {
  const values: Values = { rate: value };
  return { at: '2030-01-01T00:00:00Z', table: 'PostgreSQL', workload, name, case: undefined, repetition, values };
}
