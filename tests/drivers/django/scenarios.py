"""Django: its ORM, which keeps a connection for each thread and commits each statement unless told otherwise."""

import datetime
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal

import django
from django.conf import settings

import harness
from harness import CA, RISING, STRANGER_CA, equal, run


def database(**options):
    return {
        "ENGINE": "django.db.backends.postgresql", "HOST": harness.HOST, "PORT": harness.PORT, "USER": harness.USER,
        "PASSWORD": harness.PASSWORD, "NAME": harness.DATABASE, "OPTIONS": {"sslmode": "verify-full", **options},
    }


settings.configure(USE_TZ=True, DATABASES={
    "default": database(sslrootcert=CA),
    "bound": database(sslrootcert=CA, channel_binding="require"),
    "stranger": database(sslrootcert=STRANGER_CA),
    "server_side": database(sslrootcert=CA, server_side_binding=True),
})
django.setup()

from django.db import connection, connections, models, transaction  # settings come first
from django.db.models import F, Value


class Person(models.Model):
    id = models.IntegerField(primary_key=True)
    name = models.TextField()

    class Meta:
        app_label, db_table, managed = "drivers", "people", False


class Copied(models.Model):
    id = models.IntegerField(primary_key=True)
    name = models.TextField()

    class Meta:
        app_label, db_table, managed = "drivers", "copied", False


def fetched(text, values=None, using="default"):
    with connections[using].cursor() as cursor:
        cursor.execute(text, values)
        return cursor.fetchone()


def refused(expected, *action):
    return harness.refused(expected, *action, state=lambda error: error.__cause__.sqlstate)


def connect():
    equal(fetched("select 1"), (1,))
    refused(None, fetched, "select 1", None, "stranger")


def channel_binding():
    equal(fetched("select 1", using="bound"), (1,))


def simple_query():
    equal(Person.objects.get(id=7).name, "name 7")


def parameters():
    now = datetime.datetime.now(datetime.timezone.utc)
    values = [2**40, Decimal("12.345"), "größer ☃", b"\0\xff", now, True, [1, 2, 3], None]
    types = "%s::int8, %s::numeric, %s::text, %s::bytea, %s::timestamptz, %s::bool, %s::int[], %s::text"
    for using in ("default", "server_side"):
        equal(list(fetched(f"select {types}", values, using)), values)


def statement_cache():
    for using in ("default", "server_side"):
        people = Person.objects.using(using)
        for number in range(1, 21):
            equal(people.get(id=number).name, f"name {number}")
            with transaction.atomic(using=using):
                equal(people.annotate(more=F("id") + Value(2)).get(id=number).more, number + 2)
                equal(people.select_for_update().filter(id=-number).count(), 0)


def batch():
    Copied.objects.bulk_create([Copied(id=number, name=f"name {number}") for number in range(3000)], batch_size=500)
    equal(Copied.objects.count(), 3000)


def cursor():
    with transaction.atomic():
        equal([person.id for person in Person.objects.order_by("id").iterator(chunk_size=1000)], RISING)


def iterator():
    equal([person.id for person in Person.objects.order_by("id").iterator(chunk_size=1000)], RISING)


def transaction_():
    with transaction.atomic(), connection.cursor() as cursor:
        for id in (1, 2):
            cursor.execute("insert into written values (%s)", [id])
            equal(fetched("select max(id) from written where id > %s", [0]), (id,))
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("insert into written values (4)")
        transaction.set_rollback(True)
    equal(fetched("select sum(id) from written"), (3,))


transaction_.__name__ = "transaction"


def errors():
    def atomically(text):
        with transaction.atomic():
            fetched(text)

    with transaction.atomic():
        refused("22012", atomically, "select 1 / 0")  # a savepoint
        equal(fetched("select 2"), (2,))
    refused("42601", fetched, "selec 1")
    connection.set_autocommit(False)
    refused("22012", fetched, "select 1 / 0")
    refused("25P02", fetched, "select 1")
    connection.rollback()
    connection.set_autocommit(True)
    equal(fetched("select 3"), (3,))


def big_value():
    text = "0123456789abcdef" * 2**18
    equal(fetched("select %s::text", [text])[0] == text, True)


def many_rows():
    rows = list(Person.objects.raw("select n id, 'text ' || n as name from generate_series(1, 200000) n"))
    equal((len(rows), rows[-1].id, rows[-1].name), (200_000, 200_000, "text 200000"))


def concurrent():
    def work(worker):
        for number in range(100):
            id = worker * 100 + number + 1
            using = "server_side" if worker % 2 else "default"
            with transaction.atomic(using=using):
                equal(Person.objects.using(using).get(id=id).name, f"name {id}")
                equal(Person.objects.using(using).filter(name=f"name {id}").values_list("id", flat=True)[0], id)
        connections.close_all()

    with ThreadPoolExecutor(8) as workers:
        list(workers.map(work, range(8)))


run(f"Django {django.__version__}", [
    connect, channel_binding, simple_query, parameters, statement_cache, batch, cursor, iterator, transaction_, errors,
    big_value, many_rows, concurrent,
])
