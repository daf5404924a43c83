"""asyncpg: every statement is prepared under a name and cached; its pool cleans a session that comes back."""

import asyncio
import datetime
import json
import ssl
from decimal import Decimal

import asyncpg

import harness
from harness import CA, RISING, STRANGER_CA, Skip, equal


async def connected(ca=CA, **options):
    return await asyncpg.connect(host=harness.HOST, ssl=ssl.create_default_context(cafile=ca), **options)


async def refused(expected, action):
    try:
        await action
    except (asyncpg.PostgresError, OSError) as error:
        if expected is not None and error.sqlstate != expected:
            raise
        return
    raise AssertionError(f"no error, instead of {expected}")


async def connect(db):
    equal(await db.fetchval("select 1"), 1)
    await refused(None, connected(STRANGER_CA))


async def channel_binding(db):
    raise Skip("it has none")


async def simple_query(db):
    equal(await db.execute("select 1; select name from people"), "SELECT 20000")
    equal(await db.fetchval("select name from people where id = 7"), "name 7")


async def parameters(db):
    now = datetime.datetime.now(datetime.timezone.utc)
    values = [2**40, Decimal("12.345"), "größer ☃", b"\0\xff", now, True, [1, 2, 3], None]
    types = "$1::int8, $2::numeric, $3::text, $4::bytea, $5::timestamptz, $6::bool, $7::int[], $8::text"
    equal(list(await db.fetchrow(f"select {types}", *values)), values)
    # A codec is looked up in the catalogue, and the driver prepares those queries, too.
    await db.set_type_codec("jsonb", encoder=json.dumps, decoder=json.loads, schema="pg_catalog")
    equal(await db.fetchval("select $1::jsonb", {"a": [1]}), {"a": [1]})


async def prepared(db):
    statement = await db.prepare("select name from people where id = $1")
    for number in range(1, 21):
        async with db.transaction():
            equal(await statement.fetchval(number), f"name {number}")


async def statement_cache(db):
    for number in range(1, 21):
        equal(await db.fetchval("select $1::int + 1", number), number + 1)
        async with db.transaction():
            equal(await db.fetchval("select $1::int + 2", number), number + 2)
            equal(await db.fetchval("select $1::int + 3", number), number + 3)


async def many_statements(db):
    for _ in range(2):
        for number in range(300):
            equal(await db.fetchval(f"select $1::int + {number}", 1), number + 1)


async def schema_change(db):
    await db.execute("alter table changing drop column if exists more")
    for _ in range(8):
        await db.fetch("select * from changing")
    other = await connected()
    await other.execute("alter table changing add column more int")
    answers = []
    for _ in range(10):
        try:
            answers.append(len(await db.fetchrow("select * from changing")))
        except asyncpg.PostgresError as error:
            answers.append(error.sqlstate)
    equal(answers[5:], [2] * 5, str(answers))


async def batch(db):
    await db.execute("truncate copied")
    await db.executemany("insert into copied values ($1, $2)", [(n, f"name {n}") for n in range(1000)])
    equal(await db.fetchval("select count(*) from copied"), 1000)
    await refused("22012", db.executemany("select 1 / $1::int", [(1,), (0,), (2,)]))
    equal(await db.fetchval("select 3"), 3)


async def copy(db):
    await db.execute("truncate copied")
    await db.copy_records_to_table("copied", records=[(n, f"name {n}") for n in range(10_000)])
    equal(tuple(await db.fetchrow("select count(*), sum(id) from copied")), (10_000, 49_995_000))
    lines = []

    async def take(data):
        lines.append(data)

    await db.copy_from_query("select * from copied where id < $1", 10_000, output=take)
    equal(b"".join(lines).count(b"\n"), 10_000)

    async def wrong():
        yield b"no number\tname\n"

    await refused("22P02", db.copy_to_table("copied", source=wrong()))
    equal(await db.fetchval("select 3"), 3)


async def cursor(db):
    async with db.transaction():
        found = [row[0] async for row in db.cursor("select id from people where id > $1 order by id", 0, prefetch=500)]
    equal(found, RISING)


async def transaction(db):
    async with db.transaction():
        for id in (1, 2):
            await db.execute("insert into written values ($1)", id)
            statement = await db.prepare("select max(id) from written where id > $1")
            equal(await statement.fetchval(0), id)
            del statement
    failing = db.transaction()
    await failing.start()
    await db.execute("insert into written values (4)")
    await failing.rollback()
    equal(await db.fetchval("select sum(id) from written"), 3)


async def errors(db):
    transaction = db.transaction()
    await transaction.start()
    await refused("22012", db.fetchval("select 1 / $1::int", 0))
    await refused("25P02", db.fetchval("select 1"))
    await transaction.rollback()
    async with db.transaction():
        inner = db.transaction()
        await inner.start()
        await refused("22012", db.fetchval("select 1 / 0"))
        await inner.rollback()
        equal(await db.fetchval("select 2"), 2)
    await refused("42601", db.fetchval("selec 1"))
    equal(await db.fetchval("select 3"), 3)


async def cancel(db):
    try:
        await db.fetchval("select pg_sleep(20)", timeout=0.3)  # the driver cancels, and drops the 57014
    except asyncio.TimeoutError:
        pass
    else:
        raise AssertionError("not cancelled")
    equal(await db.fetchval("select 3"), 3)
    running = "select count(*) from pg_stat_activity where query like '%pg_sleep(20)' and state = 'active'"
    equal(await db.fetchval(running), 0)


async def notices(db):
    heard = []
    db.add_log_listener(lambda _, notice: heard.append(notice.message))
    await db.execute("do $$ begin raise notice 'hello'; end $$")
    await asyncio.sleep(0.05)
    equal(heard, ["hello"])


async def big_value(db):
    text = "0123456789abcdef" * 2**18
    equal(await db.fetchval("select $1::text", text) == text, True)


async def many_rows(db):
    found = await db.fetch("select n, 'text ' || n from generate_series(1, 200000) n")
    equal((len(found), tuple(found[-1])), (200_000, (200_000, "text 200000")))


async def concurrent(db):
    async def work(worker):
        for number in range(100):
            async with pool.acquire() as db, db.transaction():
                id, part = worker * 100 + number + 1, number % 5
                equal(await db.fetchval("select name from people where id = $1", id), f"name {id}")
                equal(await db.fetchval(f"select $1::int + {part}", id), id + part)

    secure = ssl.create_default_context(cafile=CA)
    async with asyncpg.create_pool(host=harness.HOST, ssl=secure, min_size=8, max_size=8) as pool:
        await asyncio.gather(*map(work, range(8)))


def scenario(action):
    async def whole():
        db = await connected()
        try:
            await action(db)
        finally:
            await db.close(timeout=5)

    def synchronous():
        asyncio.run(whole())

    synchronous.__name__ = action.__name__
    return synchronous


harness.run(f"asyncpg {asyncpg.__version__}", [scenario(action) for action in (
    connect, channel_binding, simple_query, parameters, prepared, statement_cache, many_statements, schema_change, batch,
    copy, cursor, transaction, errors, cancel, notices, big_value, many_rows, concurrent,
)])
