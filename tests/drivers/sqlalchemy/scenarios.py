"""SQLAlchemy over psycopg 3: its pool, its compiled statements, its ORM."""

import datetime
import threading
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal

import sqlalchemy
from sqlalchemy import ARRAY, JSON, Integer, Numeric, String, bindparam, cast, create_engine, insert, select, text
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

import harness
from harness import RISING, STRANGER_CA, equal, run


class Base(DeclarativeBase):
    pass


class Person(Base):
    __tablename__ = "people"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]


class Copied(Base):
    __tablename__ = "copied"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]


engine = create_engine("postgresql+psycopg://")
autocommit = engine.execution_options(isolation_level="AUTOCOMMIT")


def refused(expected, *action):
    return harness.refused(expected, *action, state=lambda error: error.orig.sqlstate)


def connect():
    with engine.connect() as db:
        equal(db.scalar(text("select 1")), 1)
    stranger = create_engine("postgresql+psycopg://", connect_args={"sslrootcert": STRANGER_CA})
    refused(None, stranger.connect)


def channel_binding():
    with create_engine("postgresql+psycopg://", connect_args={"channel_binding": "require"}).connect() as db:
        equal(db.scalar(text("select 1")), 1)


def simple_query():
    with engine.connect() as db:
        equal(db.scalar(text("select name from people where id = 7")), "name 7")


def parameters():
    now = datetime.datetime.now(datetime.timezone.utc)
    values = [2**40, Decimal("12.345"), "größer ☃", b"\0\xff", now, True, [1, 2, 3], {"a": [1]}]
    kinds = [None, Numeric, String, None, None, None, ARRAY(Integer), JSON]
    with engine.connect() as db:
        bound = [bindparam(None, value, kind) for value, kind in zip(values, kinds)]
        columns = [cast(one, kind) if kind else one for one, kind in zip(bound, kinds)]
        equal(list(db.execute(select(*columns)).one()), values)
        equal(db.scalar(select(cast(None, String))), None)


def statement_cache():
    with autocommit.connect() as db:
        for number in range(1, 21):
            equal(db.scalar(text("select cast(:n as int) + 1"), {"n": number}), number + 1)
    for number in range(1, 21):
        with Session(engine) as session, session.begin():
            equal(session.get(Person, number).name, f"name {number}")
            equal(session.scalar(select(Person.id).where(Person.name == f"name {number}")), number)


def many_statements():
    with autocommit.connect() as db:
        for _ in range(7):  # psycopg prepares what was used five times
            for number in range(300):
                equal(db.scalar(text(f"select cast(:n as int) + {number}"), {"n": 1}), number + 1)


def batch():
    with Session(engine) as session, session.begin():
        session.add_all([Copied(id=number, name=f"name {number}") for number in range(3000)])
    with engine.begin() as db:
        db.execute(insert(Copied), [{"id": number, "name": "more"} for number in range(3000)])
        equal(db.scalar(text("select count(*) from copied")), 6000)


def cursor():
    with engine.connect() as db:
        portions = db.execution_options(yield_per=1000).execute(select(Person.id).order_by(Person.id))
        equal([row[0] for portion in portions.partitions() for row in portion], RISING)


def transaction():
    with engine.begin() as db:
        for id in (1, 2):
            db.execute(text("insert into written values (:id)"), {"id": id})
            equal(db.scalar(text("select max(id) from written where id > :least"), {"least": 0}), id)
    with engine.connect() as db:
        db.execute(text("insert into written values (4)"))
        db.rollback()
        equal(db.scalar(text("select sum(id) from written")), 3)


def errors():
    with engine.connect() as db:
        refused("22012", db.execute, text("select 1 / cast(:n as int)"), {"n": 0})
        refused("25P02", db.execute, text("select 1"))
        db.rollback()
        with db.begin():
            inner = db.begin_nested()
            refused("22012", db.execute, text("select 1 / 0"))
            inner.rollback()
            equal(db.scalar(text("select 2")), 2)
        refused("42601", db.execute, text("selec 1"))
        db.rollback()
        equal(db.scalar(text("select 3")), 3)


def cancel():
    with autocommit.connect() as db:
        timer = threading.Timer(0.3, db.connection.dbapi_connection.cancel_safe)
        timer.start()
        refused("57014", db.execute, text("select pg_sleep(20)"))
        timer.join()
        equal(db.scalar(text("select 3")), 3)


def big_value():
    long = "0123456789abcdef" * 2**18
    with engine.connect() as db:
        equal(db.scalar(text("select cast(:t as text)"), {"t": long}) == long, True)


def many_rows():
    with engine.connect() as db:
        found = db.execute(text("select n, 'text ' || n from generate_series(1, 200000) n")).all()
        equal((len(found), tuple(found[-1])), (200_000, (200_000, "text 200000")))


def concurrent():
    pool = create_engine("postgresql+psycopg://", pool_size=8, max_overflow=0, pool_pre_ping=True)

    def work(worker):
        for number in range(100):
            id = worker * 100 + number + 1
            with Session(pool) as session, session.begin():
                equal(session.scalar(select(Person.name).where(Person.id == id)), f"name {id}")
                equal(session.scalar(text(f"select cast(:n as int) + {number % 5}"), {"n": id}), id + number % 5)

    with ThreadPoolExecutor(8) as workers:
        list(workers.map(work, range(8)))
    pool.dispose()


run(f"SQLAlchemy {sqlalchemy.__version__}, psycopg {engine.dialect.dbapi.__version__}", [
    connect, channel_binding, simple_query, parameters, statement_cache, many_statements, batch, cursor, transaction,
    errors, cancel, big_value, many_rows, concurrent,
])
