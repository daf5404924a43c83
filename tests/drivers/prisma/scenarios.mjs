// Prisma over node-postgres: queries made from a schema, transactions as callbacks, its own pool.
import { readFileSync } from "node:fs";
import prisma from "@prisma/client";
import { PrismaPg } from "@prisma/adapter-pg";
import { account, equal, long, numbers, refused, run, stranger, trusted } from "./harness.mjs";

const with_ = (scenario, more = {}) => async () => {
  const adapter = new PrismaPg({ ...account, ssl: { ca: trusted }, max: 1, ...more });
  const db = new prisma.PrismaClient({ adapter });
  try {
    await scenario(db);
  } finally {
    await db.$disconnect();
  }
};

/** Prisma has codes of its own; PostgreSQL's are within. */
const code = (error) => JSON.stringify(error.meta ?? {}).match(/"([0-9A-Z]{5})"/)?.[1];
const fails = (state, action) => refused(state, action, code);

async function connect() {
  await with_(async (db) => equal(await db.$queryRaw`select 1 as one`, [{ one: 1 }]))();
  await with_((db) => refused(null, db.$queryRaw`select 1`), { ssl: { ca: stranger } })();
}

const simpleQuery = with_(async (db) => {
  equal(await db.person.findUnique({ where: { id: 7 } }), { id: 7, name: "name 7" });
});

const parameters = with_(async (db) => {
  const now = new Date();
  const [found] = await db.$queryRaw`select ${2n ** 40n}::int8 a, ${"größer ☃"}::text b,
    ${Buffer.from([0, 255])}::bytea c, ${now}::timestamptz d, ${true}::bool e, ${[1, 2, 3]}::int[] f,
    ${{ a: [1] }}::jsonb g, ${null}::text h`;
  found.c = [...found.c];
  equal(Object.values(found), [2n ** 40n, "größer ☃", [0, 255], now, true, [1, 2, 3], { a: [1] }, null]);
});

const statementCache = with_(async (db) => {
  for (let id = 1; id <= 20; id++) {
    equal((await db.person.findUnique({ where: { id } })).name, `name ${id}`);
    await db.$transaction(async (db) => {
      equal((await db.person.findFirst({ where: { name: `name ${id}` } })).id, id);
      equal(await db.person.count({ where: { id: { lte: id } } }), id);
    });
  }
});

const batch = with_(async (db) => {
  await db.copied.deleteMany();
  equal((await db.copied.createMany({ data: numbers(3000).map((id) => ({ id, name: `name ${id}` })) })).count, 3000);
  const together = await db.$transaction([1, 2, 3].map((id) => db.person.findUnique({ where: { id } })));
  equal(together.map(({ name }) => name), ["name 1", "name 2", "name 3"]);
});

const transaction = with_(async (db) => {
  await db.$transaction(async (db) => {
    for (const id of [1, 2]) {
      await db.$executeRaw`insert into written values (${id}::int)`;
      equal(await db.$queryRaw`select max(id) as n from written where id > ${0}::int`, [{ n: id }]);
    }
  });
  await refused(null, db.$transaction(async (db) => {
    await db.$executeRaw`insert into written values (4)`;
    throw new Error("rolled back");
  }));
  equal(await db.$queryRaw`select sum(id)::int as n from written`, [{ n: 3 }]);
});

const errors = with_(async (db) => {
  await fails("22012", db.$queryRaw`select 1 / ${0}::int`);
  await fails("25P02", db.$transaction(async (db) => {
    await fails("22012", db.$queryRaw`select 1 / 0`);
    await db.$queryRaw`select 1`;
  }));
  await refused("P2002", db.person.create({ data: { id: 1, name: "again" } }));
  await fails("42601", db.$queryRawUnsafe("selec 1"));
  equal(await db.$queryRaw`select 3 as n`, [{ n: 3 }]);
});

const bigValue = with_(async (db) => equal((await db.$queryRaw`select ${long}::text as t`)[0].t === long, true));

const manyRows = with_(async (db) => {
  const rows = await db.$queryRaw`select n, 'text ' || n as t from generate_series(1, 200000) n`;
  equal([rows.length, rows.at(-1)], [200000, { n: 200000, t: "text 200000" }]);
});

const concurrent = with_(async (db) => {
  const work = async (worker) => {
    for (const number of numbers(50)) {
      const id = worker * 50 + number + 1;
      await db.$transaction(async (db) => {
        equal((await db.person.findUnique({ where: { id } })).name, `name ${id}`);
        equal((await db.person.findMany({ where: { id: { in: [id, id + 1] } }, orderBy: { id: "asc" } })).length, 2);
      }, { maxWait: 20000, timeout: 20000 });
    }
  };
  await Promise.all(numbers(8).map(work));
}, { max: 8 });

const { version } = JSON.parse(readFileSync("node_modules/@prisma/client/package.json"));
await run(`Prisma ${version}, node-postgres ${JSON.parse(readFileSync("node_modules/pg/package.json")).version}`, {
  connect, simple_query: simpleQuery, parameters, statement_cache: statementCache, batch, transaction, errors,
  big_value: bigValue, many_rows: manyRows, concurrent,
});
