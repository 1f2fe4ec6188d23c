/** Says in a message which databases there are, for somebody who named none of them. */
export function registeredDatabases(known: readonly { readonly name: string; readonly perTenant: boolean }[]): string {
  if (known.length === 0) return 'none is registered';
  return `registered ${known.length === 1 ? 'is' : 'are'} ${known.map(({ name, perTenant }) => `'${name}'${perTenant ? ' (per tenant: pass { db, tenant })' : ''}`).join(', ')}`;
}
