//! sqlx: every query is prepared under a name and cached, unless it is raw.

mod harness;

use std::env;
use std::time::Duration;

use futures_util::TryStreamExt;
use futures_util::future::try_join_all;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgPoolCopyExt, PgPoolOptions, PgSslMode};
use sqlx::{Connection, Error, Executor, PgPool, Row};

use harness::{Outcome, equal, say, wanted};

fn options(authority: &str) -> PgConnectOptions {
    // The rest is in PGHOST and its kind.
    PgConnectOptions::new()
        .ssl_mode(PgSslMode::VerifyFull)
        .ssl_root_cert(env::var(authority).expect("set by the runner"))
}

async fn connected() -> Result<PgConnection, Error> {
    PgConnection::connect_with(&options("PGSSLROOTCERT")).await
}

async fn pool(size: u32) -> Result<PgPool, Error> {
    PgPoolOptions::new().max_connections(size).min_connections(size).connect_with(options("PGSSLROOTCERT")).await
}

fn refused<T>(state: &str, result: Result<T, Error>) -> Outcome {
    let code =
        |error: &Error| error.as_database_error().and_then(|error| error.code()).unwrap_or_default().into_owned();
    harness::refused(state, code, result)
}

async fn name_of(db: &mut PgConnection, id: i32) -> Outcome {
    let found: String = sqlx::query_scalar("select name from people where id = $1").bind(id).fetch_one(db).await?;
    equal(found, format!("name {id}"))
}

async fn sum(db: &mut PgConnection, number: i32, more: i32) -> Outcome {
    let text = format!("select $1::int + {more}");
    equal(sqlx::query_scalar::<_, i32>(&text).bind(number).fetch_one(db).await?, number + more)
}

async fn connect() -> Outcome {
    sum(&mut connected().await?, 1, 1).await?;
    refused("", PgConnection::connect_with(&options("STRANGER_CA")).await)
}

async fn simple_query() -> Outcome {
    let mut db = connected().await?;
    let rows = sqlx::raw_sql("select 1; select 2").fetch_all(&mut db).await?;
    equal(rows.len(), 2)
}

async fn parameters() -> Outcome {
    let object = serde_json::json!({"a": [1]});
    let row = sqlx::query("select $1::int8, $2::float8, $3::text, $4::bytea, $5::bool, $6::int[], $7::jsonb, $8::text")
        .bind(1i64 << 40)
        .bind(12.5)
        .bind("größer ☃")
        .bind(&[0u8, 255][..])
        .bind(true)
        .bind(vec![1, 2, 3])
        .bind(&object)
        .bind(None::<String>)
        .fetch_one(&mut connected().await?)
        .await?;
    equal(row.get::<i64, _>(0), 1i64 << 40)?;
    equal(row.get::<f64, _>(1), 12.5)?;
    equal(row.get::<&str, _>(2), "größer ☃")?;
    equal(row.get::<&[u8], _>(3), &[0u8, 255][..])?;
    equal(row.get::<bool, _>(4), true)?;
    equal(row.get::<Vec<i32>, _>(5), vec![1, 2, 3])?;
    equal(row.get::<serde_json::Value, _>(6), object)?;
    equal(row.get::<Option<String>, _>(7), None::<String>)
}

async fn prepared() -> Outcome {
    let mut db = connected().await?;
    for number in 1..=20 {
        (&mut db).prepare("select name from people where id = $1").await?;
        name_of(&mut db, number).await?;
    }
    db.clear_cached_statements().await?;
    name_of(&mut db, 1).await
}

async fn statement_cache() -> Outcome {
    let mut db = connected().await?;
    for number in 1..=20 {
        sum(&mut db, number, 1).await?;
        let mut transaction = db.begin().await?;
        sum(&mut transaction, number, 2).await?;
        sum(&mut transaction, number, 3).await?;
        transaction.commit().await?;
    }
    Ok(())
}

async fn many_statements() -> Outcome {
    let mut db = PgConnection::connect_with(&options("PGSSLROOTCERT").statement_cache_capacity(400)).await?;
    for _ in 0..2 {
        for number in 0..300 {
            sum(&mut db, 1, number).await?;
        }
    }
    Ok(())
}

async fn cache_overflow() -> Outcome {
    let mut db = connected().await?; // its cache holds 100
    for _ in 0..2 {
        for number in 0..300 {
            sum(&mut db, 1, number).await?;
        }
    }
    Ok(())
}

async fn copy() -> Outcome {
    let db = pool(1).await?;
    let rows: String = (0..10_000).map(|number| format!("{number}\tname {number}\n")).collect();
    let mut copied = db.copy_in_raw("copy copied from stdin").await?;
    copied.send(rows.as_bytes()).await?;
    equal(copied.finish().await?, 10_000u64)?;
    let out: Vec<_> = db.copy_out_raw("copy copied to stdout").await?.try_collect().await?;
    equal(out.concat().len(), rows.len())?;
    let mut copied = db.copy_in_raw("copy copied from stdin").await?;
    copied.send(&b"no number\tname\n"[..]).await?;
    refused("22P02", copied.finish().await)?;
    sum(&mut *db.acquire().await?, 1, 2).await
}

/// Rows are streamed as they come; it has no portions.
async fn cursor() -> Outcome {
    let mut db = connected().await?;
    let mut transaction = db.begin().await?;
    let mut rows = sqlx::query_scalar::<_, i32>("select id from people order by id").fetch(&mut *transaction);
    let mut found = Vec::new();
    while let Some(id) = rows.try_next().await? {
        found.push(id);
    }
    drop(rows);
    transaction.commit().await?;
    equal(found, (1..=20_000).collect::<Vec<_>>())?;
    // One that is given up early: what is left is read before the next query.
    equal(sqlx::query("select id from people").fetch(&mut db).try_next().await?.is_some(), true)?;
    sum(&mut db, 1, 2).await
}

async fn transaction() -> Outcome {
    let mut db = PgConnection::connect_with(&options("PGSSLROOTCERT").statement_cache_capacity(1)).await?;
    let mut transaction = db.begin().await?; // each statement lets go of the one before
    for id in 1..=2 {
        sqlx::query("insert into written values ($1)").bind(id).execute(&mut *transaction).await?;
        let text = "select max(id) from written where id > $1";
        equal(sqlx::query_scalar::<_, i32>(text).bind(0).fetch_one(&mut *transaction).await?, id)?;
    }
    transaction.commit().await?;
    let mut transaction = db.begin().await?;
    sqlx::query("insert into written values (4)").execute(&mut *transaction).await?;
    transaction.rollback().await?;
    equal(sqlx::query_scalar::<_, i64>("select sum(id) from written").fetch_one(&mut db).await?, 3i64)
}

async fn errors() -> Outcome {
    let mut db = connected().await?;
    let mut transaction = db.begin().await?;
    refused("22012", sqlx::query("select 1 / $1::int").bind(0).fetch_one(&mut *transaction).await)?;
    refused("25P02", sqlx::query("select 1").fetch_one(&mut *transaction).await)?;
    transaction.rollback().await?;
    let mut transaction = db.begin().await?;
    let mut inner = transaction.begin().await?;
    refused("22012", sqlx::query("select 1 / 0").fetch_one(&mut *inner).await)?;
    inner.rollback().await?;
    sum(&mut transaction, 1, 2).await?;
    transaction.commit().await?;
    drop(db.begin().await?); // rolls back before the next query
    refused("42601", sqlx::query("selec 1").fetch_one(&mut db).await)?;
    sum(&mut db, 1, 2).await
}

/// It has no cancel: a query that is given up is left to run. Another connection must see to it, in SQL.
async fn cancel() -> Outcome {
    let mut db = connected().await?;
    let canceller = tokio::spawn(async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        sqlx::query("select pg_cancel_backend(pid) from pg_stat_activity where query = 'select pg_sleep(20)'")
            .execute(&mut connected().await?)
            .await
    });
    refused("57014", sqlx::query("select pg_sleep(20)").execute(&mut db).await)?;
    canceller.await??;
    sum(&mut db, 1, 2).await
}

async fn big_value() -> Outcome {
    let text = "0123456789abcdef".repeat(1 << 18);
    let found: String = sqlx::query_scalar("select $1").bind(&text).fetch_one(&mut connected().await?).await?;
    if found == text { Ok(()) } else { Err("another text".into()) }
}

async fn many_rows() -> Outcome {
    let rows = sqlx::query("select n, 'text ' || n from generate_series(1, 200000) n")
        .fetch_all(&mut connected().await?)
        .await?;
    equal((rows.len(), rows[199_999].get::<&str, _>(1)), (200_000, "text 200000"))
}

async fn concurrent() -> Outcome {
    let pool = &pool(8).await?;
    let work = async |worker: i32| {
        for id in worker * 100 + 1..=worker * 100 + 100 {
            let mut transaction = pool.begin().await?;
            name_of(&mut transaction, id).await?;
            sum(&mut transaction, id, id % 5).await?;
            transaction.commit().await?;
        }
        Outcome::Ok(())
    };
    try_join_all((0..8).map(work)).await?;
    pool.close().await;
    Ok(())
}

#[tokio::main]
async fn main() {
    println!("# sqlx 0.8.6");
    for name in wanted() {
        let outcome = match name.as_str() {
            "connect" => Some(connect().await),
            "simple_query" => Some(simple_query().await),
            "parameters" => Some(parameters().await),
            "prepared" => Some(prepared().await),
            "statement_cache" => Some(statement_cache().await),
            "many_statements" => Some(many_statements().await),
            "cache_overflow" => Some(cache_overflow().await),
            "copy" => Some(copy().await),
            "cursor" => Some(cursor().await),
            "transaction" => Some(transaction().await),
            "errors" => Some(errors().await),
            "cancel" => Some(cancel().await),
            "big_value" => Some(big_value().await),
            "many_rows" => Some(many_rows().await),
            "concurrent" => Some(concurrent().await),
            _ => None,
        };
        say(&name, outcome);
    }
}
