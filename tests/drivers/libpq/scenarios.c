// libpq itself, in C: what psql and most other drivers stand on.
#include <libpq-fe.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static _Thread_local jmp_buf failed;
static _Thread_local char why[400];

static void fail(const char *format, ...) {
    va_list values;
    va_start(values, format);
    vsnprintf(why, sizeof why, format, values);
    va_end(values);
    for (char *c = why; *c; c++)
        if (*c == '\n') *c = ' ';
    longjmp(failed, 1);
}

static PGconn *connected(const char *options) {
    PGconn *db = PQconnectdb(options);  // the rest is in PGHOST and its kind
    if (PQstatus(db) != CONNECTION_OK) fail("%s", PQerrorMessage(db));
    return db;
}

static void expect(PGresult *result, ExecStatusType status, const char *value) {
    if (PQresultStatus(result) != status)
        fail("%s %s", PQresStatus(PQresultStatus(result)), PQresultErrorMessage(result));
    if (value && strcmp(PQgetvalue(result, 0, 0), value))
        fail("%.80s instead of %.80s", PQgetvalue(result, 0, 0), value);
    PQclear(result);
}

static void ok(PGconn *db, const char *text) { expect(PQexec(db, text), PGRES_COMMAND_OK, NULL); }
static void gives(PGconn *db, const char *text, const char *value) { expect(PQexec(db, text), PGRES_TUPLES_OK, value); }

static void expect_error(PGresult *result, const char *state) {
    const char *found = PQresultErrorField(result, PG_DIAG_SQLSTATE);
    if (!found || strcmp(found, state)) fail("%s instead of %s", found ? found : "no error", state);
    PQclear(result);
}

static PGresult *with_one(PGconn *db, const char *text, const char *value) {
    return PQexecParams(db, text, 1, NULL, &value, NULL, NULL, 0);
}

static void connect_(PGconn *db) {
    if (!PQsslInUse(db)) fail("no TLS");
    char options[300];
    snprintf(options, sizeof options, "sslrootcert=%s", getenv("STRANGER_CA"));
    PGconn *stranger = PQconnectdb(options);
    if (PQstatus(stranger) == CONNECTION_OK) fail("another authority is trusted");
    PQfinish(stranger);
}

static void channel_binding(PGconn *ignored) {
    PGconn *db = connected("channel_binding=require");
    gives(db, "select 1", "1");
    PQfinish(db);
}

static void simple_query(PGconn *db) {
    gives(db, "select name from people where id = 7", "name 7");
    gives(db, "select 1; select 2", "2");
    expect(PQexec(db, ""), PGRES_EMPTY_QUERY, NULL);
}

static void parameters(PGconn *db) {
    const char *values[] = {"1099511627776", "12.345", "größer ☃", "\\x00ff", "t", "{1,2,3}", NULL};
    const char *text = "select $1::int8, $2::numeric, $3::text, $4::bytea, $5::bool, $6::int[], $7::text";
    PGresult *row = PQexecParams(db, text, 7, NULL, values, NULL, NULL, 0);
    for (int i = 0; i < 6; i++)
        if (strcmp(PQgetvalue(row, 0, i), values[i])) fail("%s instead of %s", PQgetvalue(row, 0, i), values[i]);
    if (!PQgetisnull(row, 0, 6)) fail("not null");
    PQclear(row);
    const char binary[] = {0, 0, 1, 0}, *value = binary;
    int length = 4, format = 1;
    row = PQexecParams(db, "select $1::int4", 1, NULL, &value, &length, &format, 1);
    if (memcmp(PQgetvalue(row, 0, 0), binary, 4)) fail("another binary value");
    PQclear(row);
}

static void prepared(PGconn *db) {
    expect(PQprepare(db, "found", "select name from people where id = $1", 0, NULL), PGRES_COMMAND_OK, NULL);
    for (int number = 1; number <= 20; number++) {
        char id[12], name[20];
        const char *value = id;
        snprintf(id, sizeof id, "%d", number);
        snprintf(name, sizeof name, "name %d", number);
        expect(PQexecPrepared(db, "found", 1, &value, NULL, NULL, 0), PGRES_TUPLES_OK, name);
        expect(PQdescribePrepared(db, "found"), PGRES_COMMAND_OK, NULL);
    }
    expect_error(PQprepare(db, "found", "select 1", 0, NULL), "42P05");
    gives(db, "select 3", "3");
}

static void deallocate(PGconn *db) {
    expect(PQprepare(db, "found", "select 4", 0, NULL), PGRES_COMMAND_OK, NULL);
    ok(db, "deallocate found");  // libpq had no other way before version 17
    expect_error(PQexecPrepared(db, "found", 0, NULL, NULL, NULL, 0), "26000");
    expect(PQprepare(db, "found", "select 5", 0, NULL), PGRES_COMMAND_OK, NULL);
    expect(PQexecPrepared(db, "found", 0, NULL, NULL, NULL, 0), PGRES_TUPLES_OK, "5");
    ok(db, "deallocate all");
    expect_error(PQexecPrepared(db, "found", 0, NULL, NULL, NULL, 0), "26000");
    expect(PQprepare(db, "found", "select 6", 0, NULL), PGRES_COMMAND_OK, NULL);
    expect(PQexecPrepared(db, "found", 0, NULL, NULL, NULL, 0), PGRES_TUPLES_OK, "6");
}

// An unnamed statement is prepared in one round trip, and used in the next.
static void unnamed(PGconn *db) {
    for (int number = 0; number < 20; number++) {
        const char *value = "41";
        expect(PQprepare(db, "", "select $1::int + 1", 0, NULL), PGRES_COMMAND_OK, NULL);
        expect(PQexecPrepared(db, "", 1, &value, NULL, NULL, 0), PGRES_TUPLES_OK, "42");
    }
}

static void many_statements(PGconn *db) {
    for (int round = 0; round < 2; round++)
        for (int number = 0; number < 300; number++) {
            char name[20], text[40], sum[12];
            const char *value = "1";
            snprintf(name, sizeof name, "many %d", number);
            snprintf(text, sizeof text, "select $1::int + %d", number);
            snprintf(sum, sizeof sum, "%d", number + 1);
            if (round == 0) expect(PQprepare(db, name, text, 0, NULL), PGRES_COMMAND_OK, NULL);
            expect(PQexecPrepared(db, name, 1, &value, NULL, NULL, 0), PGRES_TUPLES_OK, sum);
        }
}

static void take(PGconn *db, ExecStatusType status, const char *value) {
    expect(PQgetResult(db), status, value);
    if (status != PGRES_PIPELINE_SYNC && PQgetResult(db)) fail("one result too many");
}

static void batch(PGconn *db) {
    const char *value = "41", *zero = "0";
    PQenterPipelineMode(db);
    for (int round = 0; round < 20; round++) {  // a transaction each, all sent before the first is read
        PQsendPrepare(db, round ? "" : "kept", "select $1::int + 1", 0, NULL);
        PQsendQueryPrepared(db, "kept", 1, &value, NULL, NULL, 0);
        if (round == 10) PQsendQueryParams(db, "select 1 / $1::int", 1, NULL, &zero, NULL, NULL, 0);
        PQsendQueryParams(db, "select $1::int", 1, NULL, &value, NULL, NULL, 0);
        PQpipelineSync(db);
    }
    for (int round = 0; round < 20; round++) {
        take(db, PGRES_COMMAND_OK, NULL);
        take(db, PGRES_TUPLES_OK, "42");
        if (round == 10) {
            expect_error(PQgetResult(db), "22012");
            PQgetResult(db);
            take(db, PGRES_PIPELINE_ABORTED, NULL);
        } else {
            take(db, PGRES_TUPLES_OK, "41");
        }
        take(db, PGRES_PIPELINE_SYNC, NULL);
    }
    PQexitPipelineMode(db);
    gives(db, "select 3", "3");
}

static void copy(PGconn *db) {
    char row[40];
    expect(PQexec(db, "copy copied from stdin"), PGRES_COPY_IN, NULL);
    for (int number = 0; number < 10000; number++)
        PQputCopyData(db, row, snprintf(row, sizeof row, "%d\tname %d\n", number, number));
    PQputCopyEnd(db, NULL);
    take(db, PGRES_COMMAND_OK, NULL);
    gives(db, "select sum(id) from copied", "49995000");
    expect(PQexec(db, "copy copied to stdout"), PGRES_COPY_OUT, NULL);
    int count = 0;
    for (char *line; PQgetCopyData(db, &line, 0) > 0; count++) PQfreemem(line);
    if (count != 10000) fail("%d rows", count);
    take(db, PGRES_COMMAND_OK, NULL);
    expect(PQexec(db, "copy copied from stdin"), PGRES_COPY_IN, NULL);
    PQputCopyEnd(db, "given up");
    expect_error(PQgetResult(db), "57014");
    PQgetResult(db);
    gives(db, "select 3", "3");
}

static void cursor(PGconn *db) {
    ok(db, "begin");
    ok(db, "declare portions cursor for select id from people order by id");
    for (int portion = 0; portion < 20; portion++) {
        char first[12];
        snprintf(first, sizeof first, "%d", portion * 1000 + 1);
        gives(db, "fetch 1000 portions", first);
    }
    ok(db, "commit");
}

static void transaction(PGconn *db) {
    const char *ids[] = {"1", "2"};
    ok(db, "begin");
    for (int i = 0; i < 2; i++) {
        expect(PQprepare(db, "write", "insert into written values ($1)", 0, NULL), PGRES_COMMAND_OK, NULL);
        expect(PQexecPrepared(db, "write", 1, &ids[i], NULL, NULL, 0), PGRES_COMMAND_OK, NULL);
        ok(db, "deallocate write");
        expect(with_one(db, "select max(id) from written where id > $1", "0"), PGRES_TUPLES_OK, ids[i]);
    }
    ok(db, "commit");
    ok(db, "begin; insert into written values (4)");
    ok(db, "rollback");
    gives(db, "select sum(id) from written", "3");
}

static void errors(PGconn *db) {
    ok(db, "begin");
    expect_error(with_one(db, "select 1 / $1::int", "0"), "22012");
    expect_error(PQexec(db, "select 1"), "25P02");
    ok(db, "rollback");
    ok(db, "begin; savepoint s");
    expect_error(PQexec(db, "select 1 / 0"), "22012");
    ok(db, "rollback to s");
    gives(db, "select 2", "2");
    ok(db, "commit");
    expect_error(PQexec(db, "selec 1"), "42601");
    expect_error(PQexec(db, "select 1; select 1 / 0; select 2"), "22012");
    gives(db, "select 3", "3");
}

static void *cancel_later(void *key) {
    char error[256];
    usleep(300000);
    return PQcancel(key, error, sizeof error) ? NULL : "not sent";
}

static void cancel(PGconn *db) {
    for (int round = 0; round < 3; round++) {
        pthread_t other;
        void *outcome;
        PGcancel *key = PQgetCancel(db);
        pthread_create(&other, NULL, cancel_later, key);
        expect_error(PQexec(db, "select pg_sleep(20)"), "57014");
        pthread_join(other, &outcome);
        PQfreeCancel(key);
        if (outcome) fail("%s", outcome);
        gives(db, "select 3", "3");
    }
}

static void hear(void *heard, const PGresult *notice) {
    snprintf(heard, 20, "%s", PQresultErrorField(notice, PG_DIAG_MESSAGE_PRIMARY));
}

static void notices(PGconn *db) {
    char heard[20] = "";
    PQsetNoticeReceiver(db, hear, heard);
    ok(db, "do $$ begin raise notice 'hello'; end $$");
    if (strcmp(heard, "hello")) fail("heard: %s", heard);
}

static void big_value(PGconn *db) {
    size_t size = 4 << 20;
    char *text = malloc(size + 1);
    for (size_t i = 0; i < size; i++) text[i] = 'a' + i % 26;
    text[size] = 0;
    PGresult *row = with_one(db, "select $1::text", text);
    if (strcmp(PQgetvalue(row, 0, 0), text)) fail("another text");
    PQclear(row);
    free(text);
}

// In single-row mode, which reads no faster than the program does.
static void many_rows(PGconn *db) {
    int count = 0;
    PQsendQuery(db, "select n, 'text ' || n from generate_series(1, 200000) n");
    PQsetSingleRowMode(db);
    for (PGresult *row; (row = PQgetResult(db)); PQclear(row)) count += PQresultStatus(row) == PGRES_SINGLE_TUPLE;
    if (count != 200000) fail("%d rows", count);
}

static void *work(void *number) {
    if (setjmp(failed)) return strdup(why);
    PGconn *db = connected("");
    expect(PQprepare(db, "found", "select name from people where id = $1", 0, NULL), PGRES_COMMAND_OK, NULL);
    for (int id = *(int *)number * 100 + 1, last = id + 99; id <= last; id++) {
        char text[12], name[20];
        const char *value = text;
        snprintf(text, sizeof text, "%d", id);
        snprintf(name, sizeof name, "name %d", id);
        expect(PQexecPrepared(db, "found", 1, &value, NULL, NULL, 0), PGRES_TUPLES_OK, name);
        ok(db, "begin");
        expect(PQexecPrepared(db, "found", 1, &value, NULL, NULL, 0), PGRES_TUPLES_OK, name);
        expect(with_one(db, "select $1::int", text), PGRES_TUPLES_OK, text);
        ok(db, "commit");
    }
    PQfinish(db);
    return NULL;
}

static void concurrent(PGconn *ignored) {
    pthread_t workers[8];
    int numbers[8];
    void *outcome, *failure = NULL;
    for (int i = 0; i < 8; i++) {
        numbers[i] = i;
        pthread_create(&workers[i], NULL, work, &numbers[i]);
    }
    for (int i = 0; i < 8; i++) {
        pthread_join(workers[i], &outcome);
        if (outcome) failure = outcome;
    }
    if (failure) fail("%s", failure);
}

static const struct {
    const char *name;
    void (*run)(PGconn *db);
} scenarios[] = {
    {"connect", connect_}, {"channel_binding", channel_binding}, {"simple_query", simple_query},
    {"parameters", parameters}, {"prepared", prepared}, {"deallocate", deallocate}, {"unnamed", unnamed},
    {"many_statements", many_statements}, {"batch", batch}, {"copy", copy}, {"cursor", cursor},
    {"transaction", transaction}, {"errors", errors}, {"cancel", cancel}, {"notices", notices},
    {"big_value", big_value}, {"many_rows", many_rows}, {"concurrent", concurrent},
};

int main(int count, char **names) {
    setlinebuf(stdout);
    printf("# libpq %d\n", PQlibVersion());
    for (int n = 1; n < count; n++) {
        size_t i = 0, all = sizeof scenarios / sizeof *scenarios;
        while (i < all && strcmp(names[n], scenarios[i].name)) i++;
        if (i == all) {
            printf("skip %s not in this driver\n", names[n]);
        } else if (setjmp(failed)) {
            printf("not ok %s %s\n", names[n], why);
        } else {
            PGconn *db = connected("");
            scenarios[i].run(db);
            PQfinish(db);
            printf("ok %s\n", names[n]);
        }
    }
}
