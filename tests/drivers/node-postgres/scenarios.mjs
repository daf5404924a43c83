// node-postgres: the unnamed statement for each query with parameters, a named one where the query has a name.
import { readFileSync } from "node:fs";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import pg from "pg";
import copy from "pg-copy-streams";
import Cursor from "pg-cursor";
import QueryStream from "pg-query-stream";
import { account, equal, long, numbers, pause, refused, rising, run, stranger, trusted } from "./harness.mjs";

const options = { ...account, ssl: { ca: trusted } };

const with_ = (scenario, more = {}) => async () => {
  const db = new pg.Client({ ...options, ...more });
  await db.connect();
  try {
    await scenario(db);
  } finally {
    await db.end();
  }
};

const one = async (db, text, values) => {
  const { rows } = await db.query({ text, values, rowMode: "array" });
  return rows[0]?.[0];
};

async function connect() {
  await with_(async (db) => equal(await one(db, "select 1"), 1))();
  await refused(null, new pg.Client({ ...options, ssl: { ca: stranger } }).connect());
}

const channelBinding = with_(async (db) => equal(await one(db, "select 1"), 1), { enableChannelBinding: true });

const simpleQuery = with_(async (db) => {
  equal(await one(db, "select name from people where id = 7"), "name 7");
  equal((await db.query("select 1; select 2")).length, 2);
});

const parameters = with_(async (db) => {
  const now = new Date();
  const values = [
    String(2n ** 40n), "12.345", "größer ☃", Buffer.from([0, 255]), now, true, [1, 2, 3], { a: [1] }, null,
  ];
  const types = "$1::int8, $2::numeric, $3::text, $4::bytea, $5::timestamptz, $6::bool, $7::int[], $8::jsonb, $9::text";
  const { rows } = await db.query({ text: `select ${types}`, values, rowMode: "array" });
  equal(rows[0], values);
});

const prepared = with_(async (db) => {
  for (let number = 1; number <= 20; number++) {
    const query = { name: "found", text: "select name from people where id = $1", values: [number] };
    equal((await db.query(query)).rows, [{ name: `name ${number}` }]);
  }
});

const statementCache = with_(async (db) => {
  for (let number = 1; number <= 20; number++) {
    equal(await one(db, "select $1::int + 1", [number]), number + 1);
    await db.query("begin");
    equal(await one(db, "select $1::int + 2", [number]), number + 2);
    await db.query("commit");
  }
});

const manyStatements = with_(async (db) => {
  for (let round = 0; round < 2; round++) {
    for (const number of numbers(300)) {
      const query = { name: `many ${number}`, text: `select $1::int + ${number} as n`, values: [1] };
      equal((await db.query(query)).rows, [{ n: number + 1 }]);
    }
  }
});

// It queues queries, and sends the next when the last is answered, unless told to pipeline.
const batch = with_(async (db) => {
  const all = await Promise.all(numbers(100).map((number) => one(db, "select $1::int", [number])));
  equal(all, numbers(100));
  const mixed = await Promise.allSettled([0, 1, 2].map((number) => one(db, "select 6 / $1::int", [number])));
  equal(mixed.map(({ status, value }) => value ?? status), ["rejected", 6, 3]);
});

const copyRows = with_(async (db) => {
  const rows = numbers(10000).map((number) => `${number}\tname ${number}\n`);
  await pipeline(Readable.from(rows), db.query(copy.from("copy copied from stdin")));
  equal(await one(db, "select sum(id)::int from copied"), 49995000);
  let out = "";
  for await (const chunk of db.query(copy.to("copy copied to stdout"))) out += chunk;
  equal(out === rows.join(""), true);
  const failing = () => pipeline(Readable.from(["no number\tname\n"]), db.query(copy.from("copy copied from stdin")));
  await refused("22P02", failing);
  equal(await one(db, "select 3"), 3);
});

const cursor = with_(async (db) => {
  await db.query("begin");
  const portions = db.query(new Cursor("select id from people where id > $1 order by id", [0]));
  const found = [];
  for (let rows; (rows = await portions.read(1000)).length > 0; ) found.push(...rows.map(({ id }) => id));
  equal(found, rising);
  await portions.close();
  const streamed = [];
  for await (const { id } of db.query(new QueryStream("select id from people order by id", [], { batchSize: 500 }))) {
    streamed.push(id);
  }
  equal(streamed, rising);
  await db.query("commit");
});

// The portal lives as long as the implicit transaction: it sends Flush, and Sync only at the end.
const iterator = with_(async (db) => {
  const streamed = [];
  for await (const { id } of db.query(new QueryStream("select id from people order by id", [], { batchSize: 500 }))) {
    streamed.push(id);
  }
  equal(streamed, rising);
  equal(await one(db, "select 3"), 3);
});

const transaction = with_(async (db) => {
  await db.query("begin");
  for (const id of [1, 2]) {
    await db.query({ name: "write", text: "insert into written values ($1)", values: [id] });
    equal(await one(db, "select max(id) from written where id > $1", [0]), id);
  }
  await db.query("commit; begin; insert into written values (4)");
  await db.query("rollback");
  equal(await one(db, "select sum(id)::int from written"), 3);
});

const errors = with_(async (db) => {
  await db.query("begin");
  await refused("22012", one(db, "select 1 / $1::int", [0]));
  await refused("25P02", one(db, "select 1"));
  await db.query("rollback");
  await db.query("begin");
  await db.query("savepoint s");
  await refused("22012", one(db, "select 1 / 0"));
  await db.query("rollback to s");
  equal(await one(db, "select 2"), 2);
  await db.query("commit");
  await refused("42601", one(db, "selec 1"));
  equal(await one(db, "select 3"), 3);
});

// Another client cancels what this one does; without TLS, even if it would use that to log in.
const cancel = with_(async (db) => {
  const sleep = new pg.Query("select pg_sleep(20)");
  const sleeping = new Promise((done, failed) => sleep.on("error", failed).on("end", done));
  db.query(sleep);
  const answer = refused("57014", sleeping);
  await pause(300);
  new pg.Client(options).cancel(db, sleep);
  await answer;
  equal(await one(db, "select 3"), 3);
});

const notices = with_(async (db) => {
  const heard = [];
  db.on("notice", ({ message }) => heard.push(message));
  await db.query("do $$ begin raise notice 'hello'; end $$");
  equal(heard, ["hello"]);
});

const bigValue = with_(async (db) => equal((await one(db, "select $1::text", [long])) === long, true));

const manyRows = with_(async (db) => {
  const { rows } = await db.query("select n, 'text ' || n as t from generate_series(1, 200000) n");
  equal([rows.length, rows.at(-1)], [200000, { n: 200000, t: "text 200000" }]);
});

async function concurrent() {
  const pool = new pg.Pool({ ...options, max: 8 });
  const work = async (worker) => {
    for (const number of numbers(100)) {
      const id = worker * 100 + number + 1, part = number % 5;
      const db = await pool.connect();
      await db.query("begin");
      const query = { name: "found", text: "select name from people where id = $1", values: [id] };
      equal((await db.query(query)).rows, [{ name: `name ${id}` }]);
      const sum = { name: `plus ${part}`, text: `select $1::int + ${part} as n`, values: [id] };
      equal((await db.query(sum)).rows, [{ n: id + part }]);
      await db.query("commit");
      db.release();
    }
  };
  await Promise.all(numbers(8).map(work));
  await pool.end();
}

const { version } = JSON.parse(readFileSync("node_modules/pg/package.json"));
await run(`node-postgres ${version}`, {
  connect, channel_binding: channelBinding, simple_query: simpleQuery, parameters, prepared,
  statement_cache: statementCache, many_statements: manyStatements, batch, copy: copyRows, cursor, iterator, transaction,
  errors, cancel, notices, big_value: bigValue, many_rows: manyRows, concurrent,
});
