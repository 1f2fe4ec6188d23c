import type { MigrationInterface, QueryRunner } from 'typeorm';

/** The tables of the shop, in SQL that both databases speak. */
export class CreateShop1764000000000 implements MigrationInterface {
  async up(queryRunner: QueryRunner): Promise<void> {
    await queryRunner.query(`
      create table orders (
        id varchar(36) primary key,
        request_id varchar(200) not null,
        customer varchar(320) not null,
        lines text not null,
        total integer not null,
        status varchar(10) not null,
        placed_at timestamp not null,
        done_at timestamp
      )`);
    await queryRunner.query('create index orders_request_id on orders (request_id)');
    await queryRunner.query('create table stock (sku varchar(64) primary key, available integer not null check (available >= 0))');
    await queryRunner.query(`
      create table reservations (
        "key" varchar(200) primary key,
        order_id varchar(36) not null,
        made_at timestamp not null
      )`);
  }

  async down(queryRunner: QueryRunner): Promise<void> {
    for (const table of ['reservations', 'stock', 'orders']) await queryRunner.query(`drop table ${table}`);
  }
}
