// lib/pq, through database/sql: an unnamed statement for each query with parameters, a named one for Prepare.
package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/lib/pq"
)

var db *sql.DB

type querier interface {
	QueryRow(text string, values ...any) *sql.Row
}

func opened(settings string) *sql.DB {
	db, err := sql.Open("postgres", settings) // the rest is in PGHOST and its kind
	must(err)
	return db
}

func one[T any](db querier, text string, values ...any) T {
	var found T
	must(db.QueryRow(text, values...).Scan(&found))
	return found
}

func fails(state string, db querier, text string, values ...any) {
	var ignored any
	refused(state, db.QueryRow(text, values...).Scan(&ignored))
}

func within(work func(tx *sql.Tx)) {
	tx, err := db.Begin()
	must(err)
	defer tx.Rollback()
	work(tx)
	must(tx.Commit())
}

func connect() {
	equal(one[int](db, "select 1"), 1)
	refused("", opened("sslrootcert="+os.Getenv("STRANGER_CA")).Ping())
}

func simpleQuery() {
	equal(one[string](db, "select name from people where id = 7"), "name 7")
	_, err := db.Exec("select 1; select 2")
	must(err)
}

func parameters() {
	now := time.Now().Truncate(time.Microsecond)
	types := "$1::int8, $2::numeric, $3::text, $4::bytea, $5::timestamptz, $6::bool, $7::int[], $8::jsonb, $9::text"
	for _, settings := range []string{"", "binary_parameters=yes"} {
		var big int64
		var number, text, object string
		var bytes []byte
		var moment time.Time
		var truth bool
		var list []int64
		var null *string
		must(opened(settings).QueryRow("select "+types, int64(1)<<40, "12.345", "größer ☃", []byte{0, 255}, now, true,
			pq.Array([]int64{1, 2, 3}), `{"a": [1]}`, nil).
			Scan(&big, &number, &text, &bytes, &moment, &truth, pq.Array(&list), &object, &null))
		equal(fmt.Sprint(big, number, text, bytes, moment.Equal(now), truth, list, object, null),
			fmt.Sprint(1<<40, "12.345", "größer ☃", []byte{0, 255}, true, true, []int{1, 2, 3}, `{"a": [1]}`, null))
	}
}

func prepared() {
	statement, err := db.Prepare("select name from people where id = $1")
	must(err)
	for number := 1; number <= 20; number++ {
		var name string
		must(statement.QueryRow(number).Scan(&name))
		equal(name, fmt.Sprint("name ", number))
	}
	must(statement.Close())
}

func statementCache() {
	for number := 1; number <= 20; number++ {
		equal(one[int](db, "select $1::int + 1", number), number+1)
		within(func(tx *sql.Tx) {
			equal(one[int](tx, "select $1::int + 2", number), number+2)
			equal(one[int](tx, "select $1::int + 3", number), number+3)
		})
	}
}

func manyStatements() {
	var kept []*sql.Stmt
	for number := 0; number < 300; number++ {
		statement, err := db.Prepare(fmt.Sprint("select $1::int + ", number))
		must(err)
		kept = append(kept, statement)
	}
	for round := 0; round < 2; round++ {
		for number, statement := range kept {
			var found int
			must(statement.QueryRow(1).Scan(&found))
			equal(found, number+1)
		}
	}
	for _, statement := range kept {
		must(statement.Close())
	}
}

func copyRows() {
	within(func(tx *sql.Tx) {
		rows, err := tx.Prepare(pq.CopyIn("copied", "id", "name"))
		must(err)
		for number := 0; number < 10_000; number++ {
			_, err = rows.Exec(number, fmt.Sprint("name ", number))
			must(err)
		}
		_, err = rows.Exec()
		must(err)
		must(rows.Close())
	})
	equal(one[int](db, "select sum(id) from copied"), 49_995_000)
	tx, err := db.Begin()
	must(err)
	rows, err := tx.Prepare(pq.CopyIn("copied", "id", "name"))
	must(err)
	_, err = rows.Exec("no number", "name")
	must(err)
	_, err = rows.Exec()
	refused("22P02", err)
	must(tx.Rollback())
	equal(one[int](db, "select 3"), 3)
}

func cursor() {
	within(func(tx *sql.Tx) {
		_, err := tx.Exec("declare portions cursor for select id from people order by id")
		must(err)
		next := 1
		for portion := 0; portion < 20; portion++ {
			rows, err := tx.Query("fetch 1000 portions")
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

func transaction() {
	within(func(tx *sql.Tx) {
		for id := 1; id <= 2; id++ {
			statement, err := tx.Prepare("insert into written values ($1)")
			must(err)
			_, err = statement.Exec(id)
			must(err)
			must(statement.Close())
			equal(one[int](tx, "select max(id) from written where id > $1", 0), id)
		}
	})
	tx, err := db.Begin()
	must(err)
	_, err = tx.Exec("insert into written values (4)")
	must(err)
	must(tx.Rollback())
	equal(one[int](db, "select sum(id) from written"), 3)
}

func errorsInTransactions() {
	tx, err := db.Begin()
	must(err)
	fails("22012", tx, "select 1 / $1::int", 0)
	fails("25P02", tx, "select 1")
	must(tx.Rollback())
	within(func(tx *sql.Tx) {
		_, err := tx.Exec("savepoint s")
		must(err)
		fails("22012", tx, "select 1 / 0")
		_, err = tx.Exec("rollback to s")
		must(err)
		equal(one[int](tx, "select 2"), 2)
	})
	fails("42601", db, "selec 1")
	equal(one[int](db, "select 3"), 3)
}

func cancel() {
	short, end := context.WithTimeout(context.Background(), 300*time.Millisecond)
	defer end()
	_, err := db.ExecContext(short, "select pg_sleep(20)")
	if !errors.Is(err, context.DeadlineExceeded) {
		refused("57014", err)
	}
	equal(one[int](db, "select 3"), 3)
}

func notices() {
	connector, err := pq.NewConnector("")
	must(err)
	var heard []string
	listening := pq.ConnectorWithNoticeHandler(connector, func(notice *pq.Error) { heard = append(heard, notice.Message) })
	_, err = sql.OpenDB(listening).Exec("do $$ begin raise notice 'hello'; end $$")
	must(err)
	equal(heard, []string{"hello"})
}

func bigValue() {
	text := strings.Repeat("0123456789abcdef", 1<<18)
	equal(one[string](db, "select $1::text", text) == text, true)
}

func manyRows() {
	rows, err := db.Query("select n, 'text ' || n from generate_series(1, 200000) n")
	must(err)
	count, last, text := 0, 0, ""
	for ; rows.Next(); count++ {
		must(rows.Scan(&last, &text))
	}
	must(rows.Err())
	equal(fmt.Sprintf("%d %d %s", count, last, text), "200000 200000 text 200000")
}

func concurrent() {
	pool := opened("")
	defer pool.Close()
	pool.SetMaxOpenConns(8)
	pool.SetMaxIdleConns(8)
	statement, err := pool.Prepare("select name from people where id = $1")
	must(err)
	together(8, func(worker int) {
		for number := 0; number < 100; number++ {
			id, part := worker*100+number+1, number%5
			var name string
			must(statement.QueryRow(id).Scan(&name))
			equal(name, fmt.Sprint("name ", id))
			equal(one[int](pool, fmt.Sprint("select $1::int + ", part), id), id+part)
		}
	})
}

func main() {
	db = opened("")
	db.SetMaxOpenConns(1)
	run("lib/pq "+packaged("golang-github-lib-pq-dev"), map[string]func(){
		"connect": connect, "simple_query": simpleQuery, "parameters": parameters, "prepared": prepared,
		"statement_cache": statementCache, "many_statements": manyStatements, "copy": copyRows, "cursor": cursor,
		"transaction": transaction, "errors": errorsInTransactions, "cancel": cancel, "notices": notices,
		"big_value": bigValue, "many_rows": manyRows, "concurrent": concurrent,
	})
}
