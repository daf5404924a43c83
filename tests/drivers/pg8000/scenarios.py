"""pg8000: Parse and Sync, then Bind of the unnamed statement in a round trip of its own."""

import datetime
import io
import ssl
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal

import pg8000
import pg8000.native

import harness
from harness import CA, STRANGER_CA, Skip, equal, run


def connected(ca=CA):
    return pg8000.native.Connection(
        harness.USER, harness.HOST, harness.DATABASE, harness.PORT, harness.PASSWORD,
        ssl_context=ssl.create_default_context(cafile=ca))


def refused(expected, *action, **values):
    return harness.refused(expected, lambda: action[0](*action[1:], **values), state=lambda error: error.args[0]["C"])


def connect():
    equal(connected().run("select 1"), [[1]])
    refused(None, connected, STRANGER_CA)


def channel_binding():
    raise Skip("it cannot be demanded; the driver uses it whenever it is offered over TLS, so all scenarios have it")


def simple_query():
    equal(connected().run("select name from people where id = 7"), [["name 7"]])


def parameters():
    now = datetime.datetime.now(datetime.timezone.utc)
    values = [2**40, Decimal("12.345"), "größer ☃", b"\0\xff", now, True, [1, 2, 3], None]
    types = ["int8", "numeric", "text", "bytea", "timestamptz", "bool", "int[]", "text"]
    text = ", ".join(f"cast(:p{number} as {kind})" for number, kind in enumerate(types))
    found = connected().run(f"select {text}", **{f"p{number}": value for number, value in enumerate(values)})
    equal(found, [values])
    equal(connected().run("select cast(:p as jsonb)", p='{"a": [1]}'), [[{"a": [1]}]])


def prepared():
    db = connected()
    statement = db.prepare("select name from people where id = cast(:id as int)")
    for number in range(1, 21):
        equal(statement.run(id=number), [[f"name {number}"]])
    statement.close()
    equal(db.run("select 3"), [[3]])


def statement_cache():
    db = connected()
    for number in range(1, 21):
        equal(db.run("select cast(:n as int) + 1", n=number), [[number + 1]])
        db.run("begin")
        equal(db.run("select cast(:n as int) + 2", n=number), [[number + 2]])
        db.run("commit")


def many_statements():
    db = connected()
    kept = [db.prepare(f"select cast(:n as int) + {number}") for number in range(300)]
    for number, statement in enumerate(kept):
        equal(statement.run(n=1), [[number + 1]])


def copy():
    db = connected()
    rows = "".join(f"{number}\tname {number}\n" for number in range(10_000)).encode()
    db.run("copy copied from stdin", stream=io.BytesIO(rows))
    equal(db.run("select count(*), sum(id) from copied"), [[10_000, 49_995_000]])
    out = io.BytesIO()
    db.run("copy copied to stdout", stream=out)
    equal(out.getvalue() == rows, True)
    refused("22P02", db.run, "copy copied from stdin", stream=io.BytesIO(b"no number\tname\n"))
    equal(db.run("select 3"), [[3]])


def cursor():
    db = connected()
    db.run("begin")
    db.run("declare portions cursor for select id from people order by id")
    portions = [db.run("fetch 1000 portions") for _ in range(20)]
    equal([row[0] for portion in portions for row in portion], harness.RISING)
    db.run("commit")


def transaction():
    db = connected()
    db.run("begin")
    for id in (1, 2):
        db.run("insert into written values (:id)", id=id)
        statement = db.prepare("select max(id) from written where id > :least")
        equal(statement.run(least=0), [[id]])
        statement.close()
    db.run("commit")
    db.run("begin")
    db.run("insert into written values (4)")
    db.run("rollback")
    equal(db.run("select sum(id) from written"), [[3]])


def errors():
    db = connected()
    db.run("begin")
    refused("22012", db.run, "select 1 / cast(:n as int)", n=0)
    refused("25P02", db.run, "select 1")
    db.run("rollback")
    db.run("begin")
    db.run("savepoint s")
    refused("22012", db.run, "select 1 / 0")
    db.run("rollback to s")
    equal(db.run("select 2"), [[2]])
    db.run("commit")
    refused("42601", db.run, "selec 1")
    equal(db.run("select 3"), [[3]])


def notices():
    db = connected()
    db.run("do $$ begin raise notice 'hello'; end $$")
    equal([notice[b"M"] for notice in db.notices], [b"hello"])


def big_value():
    text = "0123456789abcdef" * 2**18
    equal(connected().run("select cast(:t as text)", t=text)[0][0] == text, True)


def many_rows():
    found = connected().run("select n, 'text ' || n from generate_series(1, 200000) n")
    equal((len(found), found[-1]), (200_000, [200_000, "text 200000"]))


def concurrent():
    def work(worker):
        db = connected()
        for number in range(100):
            id = worker * 100 + number + 1
            equal(db.run("select name from people where id = cast(:id as int)", id=id), [[f"name {id}"]])
        db.close()

    with ThreadPoolExecutor(8) as workers:
        list(workers.map(work, range(8)))


run(f"pg8000 {pg8000.__version__}", [
    connect, channel_binding, simple_query, parameters, prepared, statement_cache, many_statements, copy, cursor,
    transaction, errors, notices, big_value, many_rows, concurrent,
])
