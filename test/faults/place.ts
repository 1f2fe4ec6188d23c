/** A database that a process can open: all that one process has to tell another about it. */
export interface Place {
  readonly kind: Kind;
  readonly url: string;
}

export type Kind = 'sqlite' | 'postgres' | 'mariadb' | 'mongodb';
