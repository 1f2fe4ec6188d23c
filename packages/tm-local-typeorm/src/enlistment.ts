import { originOf } from '@stepping/typeorm';
import type { DataSource, QueryRunner } from 'typeorm';

/** What a transaction is held by: `native` of a `DbTransaction`. */
export interface NativeTransaction {
  readonly kind: string;
  readonly handle: unknown;
}

/** The QueryRunner of a transaction that TypeORM holds. */
export function queryRunnerOf(native: NativeTransaction): QueryRunner | undefined {
  const handle = native.kind === 'typeorm' ? (native.handle as Partial<QueryRunner> | undefined) : undefined;
  return handle?.dataSource === undefined ? undefined : (handle as QueryRunner);
}

/** Whether it is a connection of this very DataSource, or of a clone of it. Equal options would prove nothing: they may lead to a replica, or to another server tomorrow. */
export function isOf(dataSource: DataSource, queryRunner: QueryRunner): boolean {
  return originOf(queryRunner.dataSource) === originOf(dataSource);
}
