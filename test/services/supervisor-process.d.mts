export function startSupervisor(): Promise<{ stop(): Promise<void> }>;
export function callSupervisor(action: string, body: unknown): Promise<any>;
