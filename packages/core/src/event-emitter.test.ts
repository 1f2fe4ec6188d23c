import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { Emitter } from './event-emitter.js';
import { silentLogger } from './logger.js';

describe('Events', () => {
  it('have listeners only between on and off, and the same function may listen twice', () => {
    const events = new Emitter(silentLogger);
    const heard: string[] = [];
    const listener = ({ gid }: { gid: string }) => void heard.push(gid);
    expect(events.hasListeners('job.lease-lost')).toBe(false);
    const offs = [events.on('job.lease-lost', listener), events.on('job.lease-lost', listener)];
    expect(events.hasListeners('job.lease-lost')).toBe(true);
    offs[0]?.();
    offs[0]?.();
    events.emit('job.lease-lost', { gid: 'g' });
    expect(heard).toEqual(['g']);
    offs[1]?.();
    expect(events.hasListeners('job.lease-lost')).toBe(false);
  });

  it('are published to the diagnostics channel of their name while somebody subscribes to it', () => {
    const events = new Emitter(silentLogger);
    const seen: unknown[] = [];
    const subscriber = (message: unknown) => void seen.push(message);
    events.emit('job.lease-lost', { gid: 'before' });
    subscribe('stepping:job.lease-lost', subscriber);
    expect(events.hasListeners('job.lease-lost')).toBe(true);
    events.emit('job.lease-lost', { gid: 'during' });
    unsubscribe('stepping:job.lease-lost', subscriber);
    events.emit('job.lease-lost', { gid: 'after' });
    expect(seen).toEqual([{ gid: 'during' }]);
  });
});
