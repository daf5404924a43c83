"""psycopg2: simple queries only, parameters are written into the text by the driver."""

import datetime
import io
import threading
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal

import psycopg2
import psycopg2.extras
import psycopg2.pool

import harness
from harness import RISING, STRANGER_CA, equal, run


def connected(autocommit=False, **options):
    db = psycopg2.connect("", **options)
    db.autocommit = autocommit
    return db


def fetched(db, text, values=None):
    with db.cursor() as cursor:
        cursor.execute(text, values)
        return cursor.fetchone()


def refused(expected, *action):
    return harness.refused(expected, *action, state=lambda error: error.pgcode)


def connect():
    db = connected()
    equal(db.info.ssl_in_use, True)
    equal(fetched(db, "select 1"), (1,))
    refused(None, lambda: connected(sslrootcert=STRANGER_CA))


def channel_binding():
    equal(fetched(connected(channel_binding="require"), "select 1"), (1,))


def simple_query():
    db = connected(autocommit=True)
    equal(fetched(db, "select name from people where id = 7"), ("name 7",))
    equal(fetched(db, "select 1; select 2"), (2,))


def parameters():
    now = datetime.datetime.now(datetime.timezone.utc)
    values = [2**40, Decimal("12.345"), "größer ☃", b"\0\xff", now, True, [1, 2, 3], None]
    found = fetched(connected(), "select " + ", ".join(["%s"] * len(values)), values)
    equal([bytes(value) if isinstance(value, memoryview) else value for value in found], values)
    equal(fetched(connected(), "select %s::jsonb", [psycopg2.extras.Json({"a": [1]})]), ({"a": [1]},))


def prepared():
    db = connected(autocommit=True)
    with db, db.cursor() as cursor:  # SQL's PREPARE is all there is; it lasts for the transaction here
        cursor.execute("begin; prepare found(int) as select name from people where id = $1")
        for number in range(1, 21):
            equal(fetched(db, "execute found(%s)", [number]), (f"name {number}",))
        cursor.execute("deallocate found; commit")


def statement_cache():
    db = connected(autocommit=True)
    for number in range(1, 21):
        equal(fetched(db, "select %s + 1", [number]), (number + 1,))
    with connected() as db:
        for number in range(1, 21):
            equal(fetched(db, "select %s + 2", [number]), (number + 2,))
            db.commit()


def batch():
    with connected() as db, db.cursor() as cursor:
        found = psycopg2.extras.execute_values(
            cursor, "select v.n + 1 from (values %s) v(n)", [(n,) for n in range(1000)], fetch=True)
        equal(found, [(n + 1,) for n in range(1000)])
        psycopg2.extras.execute_batch(cursor, "select %s", [(n,) for n in range(300)])
        equal(fetched(db, "select 3"), (3,))


def copy():
    db = connected(autocommit=True)
    rows = "".join(f"{number}\tname {number}\n" for number in range(10_000))
    with db.cursor() as cursor:
        cursor.copy_from(io.StringIO(rows), "copied")
        equal(fetched(db, "select count(*), sum(id) from copied"), (10_000, 49_995_000))
        out = io.StringIO()
        cursor.copy_expert("copy copied to stdout", out)
        equal(out.getvalue() == rows, True)
        refused("22P02", lambda: cursor.copy_expert("copy copied from stdin", io.StringIO("no number\tname\n")))
    equal(fetched(db, "select 3"), (3,))


def cursor():
    with connected() as db, db.cursor("portions") as portions:
        portions.itersize = 1000
        portions.execute("select id from people order by id")
        equal([row[0] for row in portions], RISING)


def transaction():
    with connected() as db:
        for id in (1, 2):
            db.cursor().execute("insert into written values (%s)", [id])
            equal(fetched(db, "select max(id) from written"), (id,))
        db.commit()
        db.cursor().execute("insert into written values (4)")
        db.rollback()
        equal(fetched(db, "select sum(id) from written"), (3,))


def errors():
    db = connected()
    refused("22012", fetched, db, "select 1 / 0")
    refused("25P02", fetched, db, "select 1")
    db.rollback()
    equal(fetched(db, "savepoint s; select 1"), (1,))
    refused("22012", fetched, db, "select 1 / 0")
    equal(fetched(db, "rollback to s; select 2"), (2,))
    db.commit()
    refused("42601", fetched, db, "selec 1")
    db.rollback()
    equal(fetched(db, "select 3"), (3,))


def cancel():
    db = connected(autocommit=True)
    timer = threading.Timer(0.3, db.cancel)
    timer.start()
    refused("57014", fetched, db, "select pg_sleep(20)")
    timer.join()
    equal(fetched(db, "select 3"), (3,))


def notices():
    db = connected(autocommit=True)
    db.cursor().execute("do $$ begin raise notice 'hello'; end $$")
    equal(db.notices, ["NOTICE:  hello\n"])


def big_value():
    text = "0123456789abcdef" * 2**18
    equal(fetched(connected(), "select %s", [text])[0] == text, True)


def many_rows():
    with connected() as db, db.cursor() as cursor:
        cursor.execute("select n, 'text ' || n from generate_series(1, 200000) n")
        found = cursor.fetchall()
        equal((len(found), found[-1]), (200_000, (200_000, "text 200000")))


def concurrent():
    pool = psycopg2.pool.ThreadedConnectionPool(8, 8, "")

    def work(worker):
        for number in range(100):
            db = pool.getconn()
            with db:
                id = worker * 100 + number + 1
                equal(fetched(db, "select name from people where id = %s", [id]), (f"name {id}",))
                equal(fetched(db, "select %s + 1", [id]), (id + 1,))
            pool.putconn(db)

    with ThreadPoolExecutor(8) as workers:
        list(workers.map(work, range(8)))
    pool.closeall()


run(f"psycopg2 {psycopg2.__version__.split()[0]}, libpq {psycopg2.extensions.libpq_version()}", [
    connect, channel_binding, simple_query, parameters, prepared, statement_cache, batch, copy, cursor, transaction,
    errors, cancel, notices, big_value, many_rows, concurrent,
])
