// postgres.js: every query is prepared under a name and cached, and queries are pipelined.
import { readFileSync } from "node:fs";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import postgres from "postgres";
import { account, equal, long, numbers, pause, refused, rising, run, stranger, trusted } from "./harness.mjs";

const options = { ...account, username: account.user, ssl: { ca: trusted }, max: 1, onnotice: () => {} };

const with_ = (scenario, more = {}) => async () => {
  const sql = postgres({ ...options, ...more });
  try {
    await scenario(sql);
  } finally {
    await sql.end({ timeout: 2 });
  }
};

async function connect() {
  await with_(async (sql) => equal([...(await sql`select 1 as one`)], [{ one: 1 }]))();
  await with_((sql) => refused(null, sql`select 1`), { ssl: { ca: stranger } })();
}

const simpleQuery = with_(async (sql) => {
  equal((await sql`select 1 as one; select 2 as two`.simple()).length, 2);
  equal((await sql`select name from people where id = 7`.simple())[0].name, "name 7");
});

const parameters = with_(async (sql) => {
  const now = new Date();
  const [found] = await sql`select ${String(2n ** 40n)}::int8 a, ${"12.345"}::numeric b, ${"größer ☃"}::text c,
    ${Buffer.from([0, 255])}::bytea d, ${now}::timestamptz e, ${true}::bool f, ${[1, 2, 3]}::int[] g,
    ${sql.json({ a: [1] })}::jsonb h, ${null}::text i`;
  equal(Object.values(found), [
    String(2n ** 40n), "12.345", "größer ☃", Buffer.from([0, 255]), now, true, [1, 2, 3], { a: [1] }, null,
  ]);
});

const prepared = with_(async (sql) => {
  for (let number = 1; number <= 20; number++) {
    const found = await sql.unsafe("select name from people where id = $1", [number], { prepare: true });
    equal(found[0].name, `name ${number}`);
  }
});

const statementCache = with_(async (sql) => {
  for (let number = 1; number <= 20; number++) {
    equal((await sql`select ${number}::int + 1 as n`)[0].n, number + 1);
    await sql.begin(async (sql) => {
      equal((await sql`select ${number}::int + 2 as n`)[0].n, number + 2);
      equal((await sql`select ${number}::int + 3 as n`)[0].n, number + 3);
    });
  }
});

const manyStatements = with_(async (sql) => {
  for (let round = 0; round < 2; round++) {
    for (const number of numbers(300)) {
      const found = await sql.unsafe(`select $1::int + ${number} as n`, [1], { prepare: true });
      equal(found[0].n, number + 1);
    }
  }
});

const schemaChange = with_(async (sql) => {
  await sql`alter table changing drop column if exists more`;
  for (const _ of numbers(8)) await sql`select * from changing`;
  await with_((other) => other`alter table changing add column more int`)();
  for (const number of numbers(10)) {
    try {
      equal(Object.keys((await sql`select * from changing`)[0]), ["id", "more"]);
    } catch (error) {
      if (number >= 5) throw error;
    }
  }
});

const batch = with_(async (sql) => {
  for (let round = 0; round < 3; round++) {
    const all = await Promise.all(numbers(100).map((number) => sql`select ${number}::int as n`));
    equal(all.map(([{ n }]) => n), numbers(100));
  }
  const mixed = await Promise.allSettled([0, 1, 2].map((number) => sql`select 6 / ${number}::int as n`));
  equal(mixed.map(({ status, value }) => value?.[0].n ?? status), ["rejected", 6, 3]);
  const together = await sql.begin((sql) => numbers(100).map((number) => sql`select ${number}::int as n`));
  equal(together.map(([{ n }]) => n), numbers(100));
});

const copyRows = with_(async (sql) => {
  const rows = numbers(10000).map((number) => `${number}\tname ${number}\n`);
  await pipeline(Readable.from(rows), await sql`copy copied from stdin`.writable());
  equal((await sql`select sum(id)::int as n from copied`)[0].n, 49995000);
  let out = "";
  for await (const chunk of await sql`copy copied to stdout`.readable()) out += chunk;
  equal(out === rows.join(""), true);
  equal((await sql`select 3 as n`)[0].n, 3);
});

const cursor = with_(async (sql) => {
  await sql.begin(async (sql) => {
    const found = [];
    for await (const rows of sql`select id from people order by id`.cursor(1000)) found.push(...rows.map(({ id }) => id));
    equal(found, rising);
  });
});

const iterator = with_(async (sql) => {
  const found = [];
  for await (const rows of sql`select id from people order by id`.cursor(1000)) found.push(...rows.map(({ id }) => id));
  equal(found, rising);
  equal((await sql`select 3 as n`)[0].n, 3);
});

const transaction = with_(async (sql) => {
  await sql.begin(async (sql) => {
    for (const id of [1, 2]) {
      await sql`insert into written values (${id})`;
      equal((await sql`select max(id) as n from written where id > ${0}`)[0].n, id);
    }
  });
  await refused(null, sql.begin(async (sql) => {
    await sql`insert into written values (4)`;
    throw new Error("rolled back");
  }));
  equal((await sql`select sum(id)::int as n from written`)[0].n, 3);
});

const errors = with_(async (sql) => {
  await refused("22012", sql.begin((sql) => sql`select 1 / ${0}::int`));
  await refused("22012", sql.begin(async (sql) => {
    await refused("22012", sql`select 1 / 0`);
    await refused("25P02", sql`select 1`);
  })); // it remembers the first
  await sql.begin(async (sql) => {
    await refused("22012", sql.savepoint((sql) => sql`select 1 / 0`));
    equal((await sql`select 2 as n`)[0].n, 2);
  });
  await refused("42601", sql`selec 1`);
  equal((await sql`select 3 as n`)[0].n, 3);
});

const cancel = with_(async (sql) => {
  const sleeping = sql`select pg_sleep(20)`;
  const answer = refused("57014", sleeping);
  await pause(300);
  sleeping.cancel();
  await answer;
  equal((await sql`select 3 as n`)[0].n, 3);
});

async function notices() {
  const heard = [];
  const hear = { onnotice: ({ message }) => heard.push(message) };
  await with_((sql) => sql`do $$ begin raise notice 'hello'; end $$`, hear)();
  equal(heard, ["hello"]);
}

const bigValue = with_(async (sql) => equal((await sql`select ${long}::text as t`)[0].t === long, true));

const manyRows = with_(async (sql) => {
  const rows = await sql`select n, 'text ' || n as t from generate_series(1, 200000) n`;
  equal([rows.length, rows.at(-1)], [200000, { n: 200000, t: "text 200000" }]);
});

const concurrent = with_(async (sql) => {
  const work = async (worker) => {
    for (const number of numbers(100)) {
      const id = worker * 100 + number + 1, part = number % 5;
      await sql.begin(async (sql) => {
        equal((await sql`select name from people where id = ${id}`)[0].name, `name ${id}`);
        equal((await sql.unsafe(`select $1::int + ${part} as n`, [id], { prepare: true }))[0].n, id + part);
      });
      equal((await sql`select ${id}::int + 7 as n`)[0].n, id + 7);
    }
  };
  await Promise.all(numbers(8).map(work));
}, { max: 8 });

const { version } = JSON.parse(readFileSync("node_modules/postgres/package.json"));
await run(`postgres.js ${version}`, {
  connect, simple_query: simpleQuery, parameters, prepared, statement_cache: statementCache,
  many_statements: manyStatements, schema_change: schemaChange, batch, copy: copyRows, cursor, iterator, transaction,
  errors, cancel, notices, big_value: bigValue, many_rows: manyRows, concurrent,
});
