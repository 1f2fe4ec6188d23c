/** A URL as errors show it: its query may hold secrets, its path must tell which one it was. */
export function shownUrl(url: URL): string {
  return `${url.origin}${url.pathname}${url.search === '' ? '' : '?…'}`;
}

/** The same of a text that is no URL. */
export function shownText(text: string): string {
  const withoutLogin = text.replace(/^.*@/s, '…@');
  return JSON.stringify(withoutLogin.replace(/[?#].*$/s, '?…').slice(0, 200));
}

/** Shorter ones are no secrets, and would be found in any text. Unit: characters. */
const SHORTEST_SECRET = 4;

/** `text`, or nothing of it when it repeats a secret, as it is or in the spelling of JSON: a part cut out of it would still tell something. */
export function withoutSecrets(text: string, secrets: readonly string[]): string {
  const repeats = secrets.some(
    (secret) => secret.length >= SHORTEST_SECRET && (text.includes(secret) || text.includes(JSON.stringify(secret).slice(1, -1))),
  );
  return repeats ? '' : text;
}
