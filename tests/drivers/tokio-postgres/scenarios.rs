//! tokio-postgres: a fresh name for every query, closed after it, unless the program keeps the statement; pipelines by
//! polling several futures at once.

mod harness;

use std::env;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::{join_all, try_join_all};
use futures_util::{SinkExt, StreamExt, TryStreamExt, pin_mut, stream};
use rustls::pki_types::{CertificateDer, pem::PemObject};
use rustls::{ClientConfig, RootCertStore};
use serde_json::json;
use tokio_postgres::config::ChannelBinding;
use tokio_postgres::{AsyncMessage, Client, Config, Error, NoTls, Statement};
use tokio_postgres_rustls::MakeRustlsConnect;

use harness::{Outcome, equal, say, wanted};

fn tls(authority: &str) -> MakeRustlsConnect {
    let mut roots = RootCertStore::empty();
    let certificate =
        CertificateDer::from_pem_file(env::var(authority).expect("set by the runner")).expect("a certificate");
    roots.add(certificate).expect("an authority");
    MakeRustlsConnect::new(ClientConfig::builder().with_root_certificates(roots).with_no_client_auth())
}

fn config() -> Config {
    let of = |name: &str| env::var(name).expect("set by the runner");
    let mut config = Config::new();
    config.host(of("PGHOST")).port(of("PGPORT").parse().expect("a number")).user(of("PGUSER"));
    config.password(of("PGPASSWORD")).dbname(of("PGDATABASE"));
    config.ssl_mode(tokio_postgres::config::SslMode::Require);
    config
}

type Heard = Arc<Mutex<Vec<String>>>;

async fn open(config: Config, authority: &str, heard: Heard) -> Result<Client, Error> {
    let (client, mut connection) = config.connect(tls(authority)).await?;
    let messages = stream::poll_fn(move |context| connection.poll_message(context));
    tokio::spawn(messages.for_each(move |message| {
        if let Ok(AsyncMessage::Notice(notice)) = message {
            heard.lock().expect("nobody panics with it").push(notice.message().to_owned());
        }
        async {}
    }));
    Ok(client)
}

async fn connected() -> Result<Client, Error> {
    open(config(), "PGSSLROOTCERT", Heard::default()).await
}

fn refused<T>(state: &str, result: Result<T, Error>) -> Outcome {
    harness::refused(state, |error: &Error| error.code().map_or(String::new(), |code| code.code().to_owned()), result)
}

async fn name_of(db: &Client, statement: &Statement, id: i32) -> Outcome {
    equal(db.query_one(statement, &[&id]).await?.get::<_, String>(0), format!("name {id}"))
}

async fn sum(db: &Client, number: i32, more: i32) -> Outcome {
    let row = db.query_one(&format!("select $1::int + {more}"), &[&number]).await?;
    equal(row.get::<_, i32>(0), number + more)
}

async fn connect() -> Outcome {
    sum(&connected().await?, 1, 1).await?;
    refused("", open(config(), "STRANGER_CA", Heard::default()).await)?;
    let mut plain = config();
    plain.ssl_mode(tokio_postgres::config::SslMode::Disable);
    refused("", plain.connect(NoTls).await)
}

async fn channel_binding() -> Outcome {
    let mut config = config();
    config.channel_binding(ChannelBinding::Require);
    sum(&open(config, "PGSSLROOTCERT", Heard::default()).await?, 1, 1).await
}

async fn simple_query() -> Outcome {
    let db = connected().await?;
    db.batch_execute("select 1; select 2").await?;
    equal(db.simple_query("select name from people where id = 7").await?.len(), 3)?;
    sum(&db, 1, 1).await
}

async fn parameters() -> Outcome {
    let db = connected().await?;
    let object = json!({"a": [1]});
    let row = db
        .query_one(
            "select $1::int8, $2::float8, $3::text, $4::bytea, $5::bool, $6::int[], $7::jsonb, $8::text",
            &[&(1i64 << 40), &12.5, &"größer ☃", &&[0u8, 255][..], &true, &vec![1, 2, 3], &object, &None::<&str>],
        )
        .await?;
    equal(row.get::<_, i64>(0), 1i64 << 40)?;
    equal(row.get::<_, f64>(1), 12.5)?;
    equal(row.get::<_, &str>(2), "größer ☃")?;
    equal(row.get::<_, &[u8]>(3), &[0u8, 255][..])?;
    equal(row.get::<_, bool>(4), true)?;
    equal(row.get::<_, Vec<i32>>(5), vec![1, 2, 3])?;
    equal(row.get::<_, serde_json::Value>(6), object)?;
    equal(row.get::<_, Option<String>>(7), None::<String>)
}

async fn prepared() -> Outcome {
    let mut db = connected().await?;
    let statement = db.prepare("select name from people where id = $1").await?;
    for number in 1..=20 {
        name_of(&db, &statement, number).await?;
        let transaction = db.transaction().await?;
        equal(transaction.query_one(&statement, &[&number]).await?.get::<_, String>(0), format!("name {number}"))?;
        transaction.commit().await?;
    }
    drop(statement);
    sum(&db, 1, 2).await
}

async fn statement_cache() -> Outcome {
    let mut db = connected().await?;
    for number in 1..=20 {
        sum(&db, number, 1).await?;
        let transaction = db.transaction().await?;
        equal(transaction.query_one("select $1::int + 2", &[&number]).await?.get::<_, i32>(0), number + 2)?;
        transaction.commit().await?;
    }
    Ok(())
}

async fn many_statements() -> Outcome {
    let db = connected().await?;
    let mut kept = Vec::new();
    for number in 0..300 {
        kept.push(db.prepare(&format!("select $1::int + {number}")).await?);
    }
    for _ in 0..2 {
        for (number, statement) in kept.iter().enumerate() {
            equal(db.query_one(statement, &[&1]).await?.get::<_, i32>(0), 1 + number as i32)?;
        }
    }
    Ok(())
}

async fn schema_change() -> Outcome {
    let db = connected().await?;
    db.batch_execute("alter table changing drop column if exists more").await?;
    for _ in 0..8 {
        db.query_one("select * from changing", &[]).await?;
    }
    db.batch_execute("alter table changing add column more int").await?;
    for _ in 0..10 {
        equal(db.query_one("select * from changing", &[]).await?.len(), 2)?; // it is parsed anew each time
    }
    Ok(())
}

async fn batch() -> Outcome {
    let db = connected().await?;
    let statement = db.prepare("select name from people where id = $1").await?;
    for _ in 0..3 {
        try_join_all((1..=100).map(|number| name_of(&db, &statement, number))).await?;
        try_join_all((1..=100).map(|number| sum(&db, number, number % 10))).await?;
    }
    let divided = db.prepare("select 6 / $1::int").await?;
    let mixed = join_all([&0, &1, &2].map(async |number| db.query_one(&divided, &[number]).await)).await;
    let found: Vec<_> = mixed.into_iter().map(|row| row.ok().map(|row| row.get::<_, i32>(0))).collect();
    equal(found, vec![None, Some(6), Some(3)])?;
    sum(&db, 1, 2).await
}

async fn copy() -> Outcome {
    let db = connected().await?;
    let sink = db.copy_in("copy copied from stdin").await?;
    pin_mut!(sink);
    for number in 0..10_000 {
        sink.feed(bytes(format!("{number}\tname {number}\n"))).await?;
    }
    equal(sink.finish().await?, 10_000u64)?;
    let out: Vec<_> = db.copy_out("copy copied to stdout").await?.try_collect().await?;
    equal(out.len(), 10_000)?;
    let sink = db.copy_in("copy copied from stdin").await?;
    pin_mut!(sink);
    sink.send(bytes("no number\tname\n".into())).await?;
    refused("22P02", sink.finish().await)?;
    sum(&db, 1, 2).await
}

fn bytes(text: String) -> std::io::Cursor<Vec<u8>> {
    std::io::Cursor::new(text.into_bytes())
}

async fn cursor() -> Outcome {
    let mut db = connected().await?;
    let transaction = db.transaction().await?;
    let portal = transaction.bind("select id from people where id > $1 order by id", &[&0]).await?;
    let mut found = Vec::new();
    loop {
        let rows = transaction.query_portal(&portal, 1000).await?;
        if rows.is_empty() {
            break;
        }
        found.extend(rows.iter().map(|row| row.get::<_, i32>(0)));
    }
    transaction.commit().await?;
    equal(found, (1..=20_000).collect::<Vec<_>>())
}

async fn transaction() -> Outcome {
    let mut db = connected().await?;
    let transaction = db.transaction().await?;
    for id in 1..=2 {
        transaction.execute("insert into written values ($1)", &[&id]).await?; // closed after it
        let row = transaction.query_one("select max(id) from written where id > $1", &[&0]).await?;
        equal(row.get::<_, i32>(0), id)?;
    }
    transaction.commit().await?;
    let transaction = db.transaction().await?;
    transaction.execute("insert into written values (4)", &[]).await?;
    transaction.rollback().await?;
    equal(db.query_one("select sum(id) from written", &[]).await?.get::<_, i64>(0), 3i64)
}

async fn errors() -> Outcome {
    let mut db = connected().await?;
    let transaction = db.transaction().await?;
    refused("22012", transaction.query_one("select 1 / $1::int", &[&0]).await)?;
    refused("25P02", transaction.query_one("select 1", &[]).await)?;
    transaction.rollback().await?;
    let mut transaction = db.transaction().await?;
    let inner = transaction.savepoint("inner_one").await?;
    refused("22012", inner.query_one("select 1 / 0", &[]).await)?;
    inner.rollback().await?;
    equal(transaction.query_one("select 2", &[]).await?.get::<_, i32>(0), 2)?;
    transaction.commit().await?;
    drop(db.transaction().await?); // rolls back without waiting
    refused("42601", db.query_one("selec 1", &[]).await)?;
    sum(&db, 1, 2).await
}

async fn cancel() -> Outcome {
    let db = connected().await?;
    let token = db.cancel_token();
    let canceller = tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(300)).await;
        token.cancel_query(tls("PGSSLROOTCERT")).await
    });
    refused("57014", db.batch_execute("select pg_sleep(20)").await)?;
    canceller.await??;
    sum(&db, 1, 2).await
}

async fn notices() -> Outcome {
    let heard = Heard::default();
    let db = open(config(), "PGSSLROOTCERT", heard.clone()).await?;
    db.batch_execute("do $$ begin raise notice 'hello'; end $$").await?;
    equal(heard.lock().expect("nobody panics with it").clone(), vec!["hello".to_owned()])
}

async fn big_value() -> Outcome {
    let text = "0123456789abcdef".repeat(1 << 18);
    let row = connected().await?.query_one("select $1::text", &[&text]).await?;
    if row.get::<_, &str>(0) == text { Ok(()) } else { Err("another text".into()) }
}

async fn many_rows() -> Outcome {
    let rows = connected().await?.query("select n, 'text ' || n from generate_series(1, 200000) n", &[]).await?;
    equal((rows.len(), rows[199_999].get::<_, &str>(1)), (200_000, "text 200000"))
}

async fn concurrent() -> Outcome {
    let workers = (0..8).map(|worker| {
        tokio::spawn(async move {
            let mut db = connected().await?;
            let statement = db.prepare("select name from people where id = $1").await?;
            for id in worker * 100 + 1..=worker * 100 + 100 {
                name_of(&db, &statement, id).await?;
                let transaction = db.transaction().await?;
                let text = format!("select $1::int + {}", id % 5);
                equal(transaction.query_one(&text, &[&id]).await?.get::<_, i32>(0), id + id % 5)?;
                transaction.commit().await?;
            }
            Outcome::Ok(())
        })
    });
    for outcome in join_all(workers).await {
        outcome??;
    }
    Ok(())
}

#[tokio::main]
async fn main() {
    println!("# tokio-postgres 0.7.18");
    for name in wanted() {
        let outcome = match name.as_str() {
            "connect" => Some(connect().await),
            "channel_binding" => Some(channel_binding().await),
            "simple_query" => Some(simple_query().await),
            "parameters" => Some(parameters().await),
            "prepared" => Some(prepared().await),
            "statement_cache" => Some(statement_cache().await),
            "many_statements" => Some(many_statements().await),
            "schema_change" => Some(schema_change().await),
            "batch" => Some(batch().await),
            "copy" => Some(copy().await),
            "cursor" => Some(cursor().await),
            "transaction" => Some(transaction().await),
            "errors" => Some(errors().await),
            "cancel" => Some(cancel().await),
            "notices" => Some(notices().await),
            "big_value" => Some(big_value().await),
            "many_rows" => Some(many_rows().await),
            "concurrent" => Some(concurrent().await),
            _ => None,
        };
        say(&name, outcome);
    }
}
