import type { WorkloadName } from '../measured.js';
import { median } from '../statistics.js';
import { figures, label, type Series } from './series.js';
import { COLUMNS, figure, sorted } from './table.js';

/** Unit: px. */
const WIDTH = 760;
const LABELS = 230;
const FIGURES = 150;
const ROW = 26;
const TOP = 58;
const BOTTOM = 16;

/** Bars of medians with a line from the smallest to the largest repetition; Stepping's own stand out. Reads on light and on dark. */
export function chart(title: string, subtitle: string, workload: WorkloadName, series: readonly Series[]): string {
  const [{ key, title: unit } = { key: '', title: '' }] = COLUMNS[workload];
  const rows = sorted(workload, series).filter((row) => figures(row, key).length > 0);
  const largest = Math.max(...rows.flatMap((row) => figures(row, key)));
  const width = WIDTH - LABELS - FIGURES;
  const x = (value: number) => LABELS + (value / largest) * width;
  const bars = rows.map((row, i) => {
    const values = figures(row, key);
    const [least, middle, most] = [Math.min(...values), median(values), Math.max(...values)];
    const y = TOP + i * ROW;
    const kind = row.name.startsWith('stepping') ? 'own' : row.name.startsWith('plain') ? 'plain' : 'peer';
    return [
      `<text class="label" x="${LABELS - 8}" y="${y + 15}">${escaped(label(row))}</text>`,
      `<rect class="${kind}" x="${LABELS}" y="${y + 3}" width="${Math.max(1, x(middle) - LABELS).toFixed(1)}" height="${ROW - 8}" rx="2"/>`,
      values.length > 1 ? `<path class="spread" d="M${x(least).toFixed(1)} ${y + 12}H${x(most).toFixed(1)}"/>` : '',
      `<text class="figure" x="${(x(most) + 8).toFixed(1)}" y="${y + 15}">${figure(middle)} ${unit}</text>`,
    ].join('');
  });
  const height = TOP + rows.length * ROW + BOTTOM;
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" width="${WIDTH}" height="${height}" role="img" aria-label="${escaped(title)}">
<style>
text { font: 13px system-ui, sans-serif; fill: #24292f } .title { font-weight: 600; font-size: 15px } .small { font-size: 11px; fill: #57606a }
.label { text-anchor: end } .own { fill: #1a7f5a } .peer { fill: #8c959f } .plain { fill: #c9d1d9 } .spread { stroke: #24292f; stroke-width: 1.5 }
.page { fill: #ffffff }
@media (prefers-color-scheme: dark) { text { fill: #e6edf3 } .small { fill: #8d96a0 } .own { fill: #3fb98b } .peer { fill: #6e7681 } .plain { fill: #424a53 } .spread { stroke: #e6edf3 } .page { fill: #0d1117 } }
</style>
<rect class="page" width="${WIDTH}" height="${height}" rx="6"/>
<text class="title" x="16" y="24">${escaped(title)}</text>
<text class="small" x="16" y="42">${escaped(subtitle)}</text>
${bars.join('\n')}
</svg>
`;
}

function escaped(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('"', '&quot;');
}
