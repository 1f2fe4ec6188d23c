export default async function globalTeardown() {
  await globalThis.steppingTestServices?.stop();
}
