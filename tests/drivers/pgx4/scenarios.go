// pgx v4: statements are prepared and cached under names that count up; batches are pipelines.
package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/jackc/pgconn"
	"github.com/jackc/pgx/v4"
	"github.com/jackc/pgx/v4/pgxpool"
)

var forever = context.Background()

func with(scenario func(db *pgx.Conn)) func() {
	return func() {
		db, err := pgx.Connect(forever, "") // the rest is in PGHOST and its kind
		must(err)
		defer db.Close(forever)
		scenario(db)
	}
}

type querier interface {
	QueryRow(ctx context.Context, text string, values ...interface{}) pgx.Row
}

func one[T any](db querier, text string, values ...any) T {
	var found T
	must(db.QueryRow(forever, text, values...).Scan(&found))
	return found
}

func fails(state string, db querier, text string, values ...any) {
	var ignored any
	refused(state, db.QueryRow(forever, text, values...).Scan(&ignored))
}

func within(db *pgx.Conn, work func(tx pgx.Tx)) {
	must(db.BeginFunc(forever, func(tx pgx.Tx) error { work(tx); return nil }))
}

func connect() {
	with(func(db *pgx.Conn) { equal(one[int](db, "select 1"), 1) })()
	_, err := pgx.Connect(forever, "sslrootcert="+os.Getenv("STRANGER_CA"))
	refused("", err)
}

func channelBinding() { panic(skip("it has none")) }

func simpleQuery(db *pgx.Conn) {
	equal(one[string](db, "select name from people where id = 7"), "name 7")
	results, err := db.PgConn().Exec(forever, "select 1; select 2").ReadAll()
	must(err)
	equal(len(results), 2)
	equal(one[int](db, "select $1::int", pgx.QuerySimpleProtocol(true), 5), 5)
}

func parameters(db *pgx.Conn) {
	now := time.Now().Truncate(time.Microsecond)
	types := "$1::int8, $2::numeric::float8, $3::text, $4::bytea, $5::timestamptz, $6::bool, $7::int[], $8::jsonb, $9::text"
	var big int64
	var number float64
	var text string
	var bytes []byte
	var moment time.Time
	var truth bool
	var list []int32
	var object map[string][]int
	var null *string
	must(db.QueryRow(forever, "select "+types, int64(1)<<40, 12.5, "größer ☃", []byte{0, 255}, now, true,
		[]int32{1, 2, 3}, map[string][]int{"a": {1}}, nil).
		Scan(&big, &number, &text, &bytes, &moment, &truth, &list, &object, &null))
	equal(fmt.Sprint(big, number, text, bytes, moment.Equal(now), truth, list, object, null),
		fmt.Sprint(1<<40, 12.5, "größer ☃", []byte{0, 255}, true, true, []int{1, 2, 3}, map[string][]int{"a": {1}}, null))
}

func prepared(db *pgx.Conn) {
	_, err := db.Prepare(forever, "found", "select name from people where id = $1")
	must(err)
	for number := 1; number <= 20; number++ {
		equal(one[string](db, "found", number), fmt.Sprint("name ", number))
	}
}

func deallocate(db *pgx.Conn) {
	_, err := db.Prepare(forever, "found", "select 4")
	must(err)
	must(db.Deallocate(forever, "found")) // in SQL, here
	_, err = db.Prepare(forever, "found", "select $1::int")
	must(err)
	equal(one[int](db, "found", 9), 9)
}

func statementCache(db *pgx.Conn) {
	for number := 1; number <= 20; number++ {
		equal(one[int](db, "select $1::int + 1", number), number+1)
		within(db, func(tx pgx.Tx) {
			equal(one[int](tx, "select $1::int + 2", number), number+2)
			equal(one[int](tx, "select $1::int + 3", number), number+3)
		})
	}
}

func manyStatements(db *pgx.Conn) {
	for round := 0; round < 2; round++ {
		for number := 0; number < 300; number++ {
			name := fmt.Sprint("many_", number)
			_, err := db.Prepare(forever, name, fmt.Sprint("select $1::int + ", number))
			must(err)
			equal(one[int](db, name, 1), number+1)
		}
	}
}

// The driver's own cache holds 512 statements, and it forgets older ones with DEALLOCATE.
func cacheOverflow(db *pgx.Conn) {
	for number := 0; number < 600; number++ {
		equal(one[int](db, fmt.Sprint("select $1::int - ", number), 1), 1-number)
	}
}

func schemaChange(db *pgx.Conn) {
	execute := func(text string) {
		_, err := db.Exec(forever, text)
		must(err)
	}
	execute("alter table changing drop column if exists more")
	columns := func() (count int, err error) {
		rows, err := db.Query(forever, "select * from changing")
		if err == nil {
			for rows.Next() {
				count = len(rows.RawValues())
			}
			err = rows.Err()
		}
		return count, err
	}
	for try := 0; try < 8; try++ {
		_, err := columns()
		must(err)
	}
	execute("alter table changing add column more int")
	for try := 0; try < 10; try++ {
		if count, err := columns(); try >= 5 {
			must(err)
			equal(count, 2)
		}
	}
}

func batch(db *pgx.Conn) {
	for round := 0; round < 3; round++ {
		queued := &pgx.Batch{}
		for number := 0; number < 100; number++ {
			queued.Queue(fmt.Sprint("select $1::int + ", number%10), number)
		}
		results := db.SendBatch(forever, queued)
		for number := 0; number < 100; number++ {
			var found int
			must(results.QueryRow().Scan(&found))
			equal(found, number+number%10)
		}
		must(results.Close())
	}
	failing := &pgx.Batch{}
	failing.Queue("select 1 / $1::int", 0)
	failing.Queue("select 2")
	results := db.SendBatch(forever, failing)
	_, err := results.Exec()
	refused("22012", err)
	_ = results.Close()
	equal(one[int](db, "select 3"), 3)
}

func copyRows(db *pgx.Conn) {
	rows := pgx.CopyFromSlice(10_000, func(n int) ([]any, error) { return []any{int32(n), fmt.Sprint("name ", n)}, nil })
	count, err := db.CopyFrom(forever, pgx.Identifier{"copied"}, []string{"id", "name"}, rows)
	must(err)
	equal(count, int64(10_000))
	equal(one[int](db, "select sum(id) from copied"), 49_995_000)
	var out strings.Builder
	_, err = db.PgConn().CopyTo(forever, &out, "copy copied to stdout")
	must(err)
	equal(strings.Count(out.String(), "\n"), 10_000)
	_, err = db.PgConn().CopyFrom(forever, strings.NewReader("no number\tname\n"), "copy copied from stdin")
	refused("22P02", err)
	equal(one[int](db, "select 3"), 3)
}

func cursor(db *pgx.Conn) {
	within(db, func(tx pgx.Tx) {
		_, err := tx.Exec(forever, "declare portions cursor for select id from people order by id")
		must(err)
		next := 1
		for portion := 0; portion < 20; portion++ {
			rows, err := tx.Query(forever, "fetch 1000 portions")
			must(err)
			for rows.Next() {
				var id int
				must(rows.Scan(&id))
				equal(id, next)
				next++
			}
			must(rows.Err())
		}
		equal(next, 20_001)
	})
}

func transaction(db *pgx.Conn) {
	within(db, func(tx pgx.Tx) {
		for id := 1; id <= 2; id++ {
			_, err := tx.Prepare(forever, "write", "insert into written values ($1)")
			must(err)
			_, err = tx.Exec(forever, "write", id)
			must(err)
			must(tx.Conn().Deallocate(forever, "write"))
			equal(one[int](tx, "select max(id) from written where id > $1", 0), id)
		}
	})
	tx, err := db.Begin(forever)
	must(err)
	_, err = tx.Exec(forever, "insert into written values (4)")
	must(err)
	must(tx.Rollback(forever))
	equal(one[int](db, "select sum(id) from written"), 3)
}

func errorsInTransactions(db *pgx.Conn) {
	tx, err := db.Begin(forever)
	must(err)
	fails("22012", tx, "select 1 / $1::int", 0)
	fails("25P02", tx, "select 1")
	must(tx.Rollback(forever))
	within(db, func(tx pgx.Tx) {
		inner, err := tx.Begin(forever)
		must(err)
		fails("22012", inner, "select 1 / 0")
		must(inner.Rollback(forever))
		equal(one[int](tx, "select 2"), 2)
	})
	fails("42601", db, "selec 1")
	equal(one[int](db, "select 3"), 3)
}

func cancel(db *pgx.Conn) {
	go func() {
		time.Sleep(300 * time.Millisecond)
		_ = db.PgConn().CancelRequest(forever)
	}()
	fails("57014", db, "select pg_sleep(20)")
	time.Sleep(50 * time.Millisecond)
	equal(one[int](db, "select 3"), 3)
}

func notices() {
	config, err := pgx.ParseConfig("")
	must(err)
	var heard []string
	config.OnNotice = func(_ *pgconn.PgConn, notice *pgconn.Notice) { heard = append(heard, notice.Message) }
	db, err := pgx.ConnectConfig(forever, config)
	must(err)
	defer db.Close(forever)
	_, err = db.Exec(forever, "do $$ begin raise notice 'hello'; end $$")
	must(err)
	equal(heard, []string{"hello"})
}

func bigValue(db *pgx.Conn) {
	text := strings.Repeat("0123456789abcdef", 1<<18)
	equal(one[string](db, "select $1::text", text) == text, true)
}

func manyRows(db *pgx.Conn) {
	rows, err := db.Query(forever, "select n, 'text ' || n from generate_series(1, 200000) n")
	must(err)
	count, last, text := 0, 0, ""
	for ; rows.Next(); count++ {
		must(rows.Scan(&last, &text))
	}
	must(rows.Err())
	equal(fmt.Sprintf("%d %d %s", count, last, text), "200000 200000 text 200000")
}

func concurrent() {
	pool, err := pgxpool.Connect(forever, "pool_max_conns=8 pool_min_conns=8")
	must(err)
	defer pool.Close()
	together(8, func(worker int) {
		for number := 0; number < 100; number++ {
			id, part := worker*100+number+1, number%5
			must(pool.BeginFunc(forever, func(tx pgx.Tx) error {
				equal(one[string](tx, "select name from people where id = $1", id), fmt.Sprint("name ", id))
				equal(one[int](tx, fmt.Sprint("select $1::int + ", part), id), id+part)
				return nil
			}))
		}
	})
}

func main() {
	run("pgx v4 "+packaged("golang-github-jackc-pgx-v4-dev"), map[string]func(){
		"connect": connect, "channel_binding": channelBinding, "simple_query": with(simpleQuery),
		"parameters": with(parameters), "prepared": with(prepared), "deallocate": with(deallocate),
		"statement_cache": with(statementCache), "many_statements": with(manyStatements),
		"cache_overflow": with(cacheOverflow), "schema_change": with(schemaChange), "batch": with(batch),
		"copy": with(copyRows), "cursor": with(cursor), "transaction": with(transaction),
		"errors": with(errorsInTransactions), "cancel": with(cancel), "notices": notices, "big_value": with(bigValue),
		"many_rows": with(manyRows), "concurrent": concurrent,
	})
}
