import { startSupervisor } from './services/supervisor-process.mjs';

export default async function globalSetup() {
  globalThis.steppingTestServices = await startSupervisor();
}
