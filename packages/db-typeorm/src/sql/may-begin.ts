/** Whether a claim may begin, as a condition on the row that is there. On MySQL the last three are placeholders, in this order: token, generation, generation, token, maxAttempts. */
export function mayBegin(row: string, now: string, generation: string, token: string, maxAttempts: string): string {
  return `${row}state <> 'done' and (
      ${row}held = 1 and ${row}token = ${token}
      or (${row}held = 0 or ${row}due_at <= ${now}) and (
        ${row}generation < ${generation}
        or ${row}generation = ${generation} and ${row}state = 'open' and ${row}due_at <= ${now} and ${row}token <> ${token} and ${row}attempts < ${maxAttempts}))`;
}
