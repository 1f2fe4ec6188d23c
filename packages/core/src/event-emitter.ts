import { type Channel, channel } from 'node:diagnostics_channel';
import type { EventEmitter, SteppingEvents } from './events.js';
import type { Logger } from './logger.js';

type EventName = keyof SteppingEvents;
interface Subscription {
  readonly listener: (event: any) => unknown;
}

/**
 * Tells listeners, and whoever subscribed to the diagnostics channel `stepping:<event>`, what happened. A listener that throws or rejects is
 * logged and breaks nothing.
 */
export class Emitter implements EventEmitter {
  readonly #subscriptions = new Map<EventName, Set<Subscription>>();
  readonly #channels = new Map<EventName, Channel>();
  readonly #logger: Required<Logger>;

  constructor(logger: Required<Logger>) {
    this.#logger = logger;
  }

  /** Returns the unsubscriber. The same function may listen twice. */
  on<K extends EventName>(event: K, listener: (event: SteppingEvents[K]) => unknown): () => void {
    const subscription: Subscription = { listener };
    const ofEvent = this.#subscriptions.get(event) ?? new Set();
    this.#subscriptions.set(event, ofEvent.add(subscription));
    return () => void ofEvent.delete(subscription);
  }

  hasListeners(event: EventName): boolean {
    return (this.#subscriptions.get(event)?.size ?? 0) > 0 || this.#channel(event).hasSubscribers;
  }

  emit<K extends EventName>(event: K, payload: SteppingEvents[K]): void {
    const diagnostics = this.#channel(event);
    if (diagnostics.hasSubscribers) diagnostics.publish(payload);
    for (const { listener } of this.#subscriptions.get(event) ?? []) {
      try {
        const result: any = listener(payload);
        if (typeof result?.then === 'function') result.then(undefined, (error: unknown) => this.#logFailed(event, error));
      } catch (error) {
        this.#logFailed(event, error);
      }
    }
  }

  #logFailed(event: EventName, error: unknown): void {
    this.#logger.error(`A listener of ${event} failed; the job goes on`, { event, error });
  }

  #channel(event: EventName): Channel {
    const known = this.#channels.get(event);
    if (known) return known;
    const opened = channel(`stepping:${event}`);
    this.#channels.set(event, opened);
    return opened;
  }
}
