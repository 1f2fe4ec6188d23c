import type { MigrationInterface, QueryRunner } from 'typeorm';

/** The tables of the shop, in SQL that all databases speak but for a few words. */
export class CreateShop1764000000000 implements MigrationInterface {
  async up(queryRunner: QueryRunner): Promise<void> {
    const { driver, options } = queryRunner.dataSource;
    const time = options.type === 'mariadb' ? 'datetime(3)' : 'timestamp'; // a timestamp of MariaDB has no milliseconds
    await queryRunner.query(`
      create table orders (
        id varchar(36) primary key,
        request_id varchar(200) not null,
        customer varchar(320) not null,
        ${driver.escape('lines')} text not null,
        total integer not null,
        status varchar(10) not null,
        placed_at ${time} not null,
        done_at ${time}
      )`);
    await queryRunner.query('create index orders_request_id on orders (request_id)');
    await queryRunner.query('create table stock (sku varchar(64) primary key, available integer not null check (available >= 0))');
    await queryRunner.query(`
      create table reservations (
        id varchar(36) primary key,
        order_id varchar(36) not null,
        made_at ${time} not null
      )`);
  }

  async down(queryRunner: QueryRunner): Promise<void> {
    for (const table of ['reservations', 'stock', 'orders']) await queryRunner.query(`drop table ${table}`);
  }
}
