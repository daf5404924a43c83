"""psycopg 3: a pipeline where it can, statements prepared after five uses.

psycopg has the libpq of its wheel; psycopg-libpq runs the same with this machine's."""

import datetime
import threading
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal

import psycopg
from psycopg.types.json import Jsonb
from psycopg_pool import ConnectionPool

from harness import RISING, STRANGER_CA, equal, refused, run


def connected(**options):
    return psycopg.connect("", **options)  # the rest is in PGHOST and its kind


def connect():
    with connected() as db:
        equal(db.pgconn.ssl_in_use, True)
        equal(db.execute("select 1").fetchone(), (1,))
    refused(None, lambda: connected(sslrootcert=STRANGER_CA))


def channel_binding():
    with connected(channel_binding="require") as db:
        equal(db.execute("select 1").fetchone(), (1,))


def simple_query():
    with connected(autocommit=True) as db:
        equal(db.execute("select name from people where id = 7").fetchone(), ("name 7",))
        several = db.execute("select 1; select 2")
        equal(several.fetchone(), (1,))
        equal(several.nextset(), True)
        equal(several.fetchone(), (2,))


def parameters():
    now = datetime.datetime.now(datetime.timezone.utc)
    values = [2**40, Decimal("12.345"), "größer ☃", b"\0\xff", now, True, [1, 2, 3], None]
    with connected() as db:
        types = "%s::int8, %s::numeric, %s::text, %s::bytea, %s::timestamptz, %s::bool, %s::int[], %s::text"
        for binary in (False, True):
            found = db.cursor(binary=binary).execute(f"select {types}", values).fetchone()
            equal(list(found), values)
        equal(db.execute("select %s", [Jsonb({"a": [1]})]).fetchone(), ({"a": [1]},))


def prepared():
    with connected() as db:
        for number in range(20):
            with db.transaction():
                found = db.execute("select name from people where id = %s", [number + 1], prepare=True).fetchone()
                equal(found, (f"name {number + 1}",))


def statement_cache():
    with connected(autocommit=True) as db:
        for number in range(1, 21):
            equal(db.execute("select %s::int + 1", [number]).fetchone(), (number + 1,))
            with db.transaction():
                equal(db.execute("select %s::int + 2", [number]).fetchone(), (number + 2,))
                equal(db.execute("select %s::int + 3", [number]).fetchone(), (number + 3,))


def many_statements():
    with connected(autocommit=True) as db:
        db.prepared_max = 300
        for _ in range(2):
            for number in range(300):
                equal(db.execute(f"select %s::int + {number}", [1], prepare=True).fetchone(), (number + 1,))


def cache_overflow():
    with connected(autocommit=True) as db:
        db.prepared_max = 10  # what it forgets is closed, in SQL if libpq is older than 17
        for _ in range(2):
            for number in range(60):
                equal(db.execute(f"select %s::int - {number}", [1], prepare=True).fetchone(), (1 - number,))


def batch():
    with connected(autocommit=True) as db:
        for _ in range(3):
            with db.pipeline():
                cursors = [db.execute("select %s::int", [number]) for number in range(100)]
                equal([cursor.fetchone()[0] for cursor in cursors], list(range(100)))
        with db.cursor() as cursor:
            cursor.executemany("select %s::int", [(1,), (2,)], returning=True)
            equal(cursor.fetchone(), (1,))

        def failing():
            with db.pipeline():
                db.execute("select 1 / %s::int", [0])
                db.execute("select 2")

        refused("22012", failing)
        equal(db.execute("select 3").fetchone(), (3,))


def copy():
    with connected(autocommit=True) as db:
        with db.cursor().copy("copy copied from stdin") as rows:
            for number in range(10_000):
                rows.write_row((number, f"name {number}"))
        equal(db.execute("select count(*), sum(id) from copied").fetchone(), (10_000, 49_995_000))
        with db.cursor().copy("copy copied to stdout") as rows:
            equal(sum(1 for _ in rows.rows()), 10_000)

        def failing():
            with db.cursor().copy("copy copied from stdin") as rows:
                rows.write("no number\tname\n")

        refused("22P02", failing)
        equal(db.execute("select 3").fetchone(), (3,))


def cursor():
    with connected() as db, db.cursor("portions") as portions:
        portions.itersize = 1000
        portions.execute("select id from people where id > %s order by id", [0])
        equal([row[0] for row in portions], RISING)
    with connected() as db, db.cursor() as plain:
        size = 500 if psycopg.pq.version() >= 170000 else 1
        equal([row[0] for row in plain.stream("select id from people order by id", size=size)], RISING)


def transaction():
    with connected() as db:
        db.prepared_max = 1  # each statement lets go of the one before
        for id in (1, 2):
            db.execute("insert into written values (%s)", [id], prepare=True)
            equal(db.execute("select max(id) from written where id > %s", [0], prepare=True).fetchone(), (id,))
        db.commit()
        db.execute("insert into written values (4)")
        db.rollback()
        equal(db.execute("select sum(id) from written").fetchone(), (3,))


def errors_scenario():
    with connected() as db:
        refused("22012", db.execute, "select 1 / %s::int", [0])
        refused("25P02", db.execute, "select 1")
        db.rollback()
        with db.transaction():
            with db.transaction(force_rollback=False) as inner:
                refused("22012", db.execute, "select 1 / 0")
                raise psycopg.Rollback(inner)
            equal(db.execute("select 2").fetchone(), (2,))
        db.commit()
        refused("42601", db.execute, "selec 1")
        db.rollback()
        equal(db.execute("select 3").fetchone(), (3,))


errors_scenario.__name__ = "errors"


def cancel():
    with connected(autocommit=True) as db:
        timer = threading.Timer(0.3, db.cancel_safe)
        timer.start()
        refused("57014", db.execute, "select pg_sleep(20)")
        timer.join()
        equal(db.execute("select 3").fetchone(), (3,))


def notices():
    heard = []
    with connected(autocommit=True) as db:
        db.add_notice_handler(lambda notice: heard.append(notice.message_primary))
        db.execute("do $$ begin raise notice 'hello'; end $$")
    equal(heard, ["hello"])


def big_value():
    text = "0123456789abcdef" * 2**18
    with connected(autocommit=True) as db:
        equal(db.execute("select %s::text", [text]).fetchone()[0] == text, True)


def many_rows():
    with connected() as db:
        found = db.execute("select n, 'text ' || n from generate_series(1, 200000) n").fetchall()
        equal((len(found), found[-1]), (200_000, (200_000, "text 200000")))


def concurrent():
    with ConnectionPool("", min_size=8, max_size=8) as pool:

        def work(worker):
            for number in range(100):
                with pool.connection() as db:
                    id = worker * 100 + number + 1
                    equal(db.execute("select name from people where id = %s", [id]).fetchone(), (f"name {id}",))
                    part = number % 5
                    equal(db.execute(f"select %s::int + {part}", [id]).fetchone(), (id + part,))

        with ThreadPoolExecutor(8) as workers:
            list(workers.map(work, range(8)))


run(f"psycopg {psycopg.__version__}, libpq {psycopg.pq.version()}", [
    connect, channel_binding, simple_query, parameters, prepared, statement_cache, many_statements, cache_overflow, batch,
    copy, cursor, transaction, errors_scenario, cancel, notices, big_value, many_rows, concurrent,
])
