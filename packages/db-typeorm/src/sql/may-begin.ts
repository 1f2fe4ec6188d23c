/** Whether a claim may begin, as a condition on the row that is there. On MySQL the last three are placeholders, in this order: generation, token, token, maxAttempts, generation. */
export function mayBegin(row: string, now: string, generation: string, token: string, maxAttempts: string): string {
  return `${row}state <> 'done' and (
      ${row}generation = ${generation} and (
        ${row}held = 1 and ${row}token = ${token}
        or ${row}state = 'open' and ${row}due_at <= ${now} and ${row}token <> ${token} and ${row}attempts < ${maxAttempts})
      or ${row}generation < ${generation} and (${row}held = 0 or ${row}due_at <= ${now}))`;
}
