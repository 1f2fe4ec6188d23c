import type { DataSource } from 'typeorm';

const origins = new WeakMap<DataSource, DataSource>();

/** The user's DataSource that this one was made from; itself if it is the user's. Two DataSources are the same database if, and only if, they have the same origin. */
export function originOf(dataSource: DataSource): DataSource {
  return origins.get(dataSource) ?? dataSource;
}

/** Remembers that `made` connects to what `from` connects to. */
export function rememberOrigin(made: DataSource, from: DataSource): void {
  origins.set(made, originOf(from));
}
