//! A hunt for leaks: random clients do random things to their sessions over few servers, and each must find what a
//! client with a connection of its own finds: results, errors, settings, cursors, locks, temporary tables, channels.
//!
//! `LEAK_HUNT_STEPS` makes it longer, `LEAK_HUNT_SEED` repeats one. What may differ: process ids, the names of prepared
//! statements on the server, and a parameter with a dot in its name, which once set on a server is empty there instead
//! of unknown. What a startup parameter was is what RESET goes back to only when the transaction has ended, so RESET is
//! not tried within one.

use std::collections::BTreeMap;
use std::env;

use crate::harness::{Address, Client, Login, Message, Pooler, Setup, direct};
use crate::prepared::{parse, run};

const CLIENTS: usize = 7;
const SERVERS: usize = 4;
const STEPS: usize = 1000;
/// Clients have numbers that look like nothing else.
const FIRST: usize = 7_700_000;

/// What is done, and what it needs.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Nothing that outlasts its transaction.
    Free,
    /// It may keep a server.
    Holds,
    /// Only outside of a transaction: see above.
    Alone,
}

use Kind::{Alone, Free, Holds};

/// `#` is a number that nobody else has, for locks and channels; `@` a random small one.
const STATEMENTS: &[(Kind, &str)] = &[
    (Free, "set work_mem = '@MB'"),
    (Free, "set session statement_timeout = '1@s'"),
    (Free, "set search_path = pg_catalog, schema_@"),
    (Free, "set timezone = 'Etc/GMT+@'"),
    (Free, "set datestyle = 'SQL, DMY'; select '2026-01-02'::date"),
    (Free, "select set_config('application_name', 'name @', false)"),
    (Free, "select set_config('app.x', 'value @', false), set_config('work_mem', '2@MB', true)"),
    (Free, "set app.y = '@'; set local app.x = 'local'"),
    (Free, "set extra_float_digits = 0; select 0.1::float8 + 0.2"),
    (Free, "set client_encoding = 'LATIN1'"),
    (Free, "set session characteristics as transaction isolation level repeatable read"),
    (Free, "set local lock_timeout = '3@s'"),
    (Free, "set role app"),
    (Free, "reset role"),
    (Free, "set session authorization app"),
    (Free, "set log_statement = 'ddl'"),
    (Free, "set enable_sort to off; select 1/0"),
    (Free, "set no_such_parameter = @"),
    (Free, "set work_mem = 'much'"),
    (Free, "do $$ begin perform set_config('lock_timeout', '5@s', false); set enable_sort = off; end $$"),
    (Free, "show work_mem"),
    (Free, "select count(*) from mine"),
    (Free, "insert into mine values (@)"),
    (Free, "fetch 1 from held"),
    (Free, "execute sql_@"),
    (Alone, "reset all"),
    (Alone, "reset work_mem; reset app.x"),
    (Alone, "set timezone to default"),
    (Alone, "reset session authorization"),
    (Alone, "discard all"),
    (Alone, "discard temp"),
    (Alone, "discard plans"),
    (Holds, "begin"),
    (Holds, "begin isolation level serializable; set work_mem = '3@MB'"),
    (Free, "savepoint a"),
    (Free, "rollback to a"),
    (Free, "commit"),
    (Free, "commit"),
    (Free, "rollback"),
    (Holds, "create temp table mine (id int)"),
    (Holds, "create temp table brief (id int) on commit drop"),
    (Holds, "select @ as id into temp mine"),
    (Free, "drop table if exists mine"),
    (Holds, "declare held cursor with hold for select generate_series(1, 9)"),
    (Holds, "declare brief cursor for select 1"),
    (Free, "close held"),
    (Free, "close all"),
    (Holds, "select pg_advisory_lock(#)"),
    (Holds, "select pg_try_advisory_lock_shared(#)"),
    (Free, "select pg_advisory_xact_lock(#)"),
    (Free, "select pg_advisory_unlock(#), pg_advisory_unlock_shared(#)"),
    (Free, "select pg_advisory_unlock_all()"),
    (Free, "listen channel_#"),
    (Free, "notify channel_#, 'word @'"),
    (Free, "unlisten channel_#"),
    (Free, "unlisten *"),
    (Holds, "prepare sql_@ as select current_setting('work_mem')"),
    (Holds, "prepare sql_@ as select set_config('work_mem', '4@MB', false)"),
    (Free, "deallocate sql_@"),
    (Free, "deallocate all"),
];

/// All that can be seen of a session, as one value.
pub const SEEN: &str = "select concat_ws('|', session_user, current_user, current_setting('work_mem'), \
    current_setting('statement_timeout'), current_setting('search_path'), current_setting('timezone'), \
    current_setting('datestyle'), current_setting('application_name'), coalesce(current_setting('app.x', true), ''), \
    coalesce(current_setting('app.y', true), ''), current_setting('extra_float_digits'), current_setting('client_encoding'), \
    current_setting('default_transaction_isolation'), current_setting('lock_timeout'), current_setting('log_statement'), \
    current_setting('enable_sort'), current_setting('intervalstyle'), \
    (select string_agg(name || is_holdable, ',' order by name) from pg_cursors where name in ('held', 'brief')), \
    (select string_agg(relname, ',' order by relname) from pg_class where relnamespace = pg_my_temp_schema()), \
    (select count(*) from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()), \
    (select count(*) from pg_listening_channels()), \
    (select string_agg(name, ',' order by name) from pg_prepared_statements where from_sql))";

/// Its part that is about channels.
const CHANNELS: &str = "(select count(*) from pg_listening_channels())";

/// What would keep a server.
const HELD: &str = "select (select count(*) from pg_cursors where is_holdable) \
    + (select count(*) from pg_class where relnamespace = pg_my_temp_schema()) \
    + (select count(*) from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()) \
    + (select count(*) from pg_prepared_statements where from_sql)";

/// Numbers that look random and can be had again (xorshift).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % sides as u64) as usize
    }
}

/// One side of a client.
struct Side {
    client: Client,
    number: usize,
    /// The last value of each reported parameter.
    reported: BTreeMap<String, String>,
    status: u8,
}

impl Side {
    fn new(client: Client, number: usize) -> Side {
        let statuses = client.greeting.iter().filter(|message| message.tag == b'S');
        let reported = statuses.map(Message::parameter).collect();
        Side { client, number, reported, status: b'I' }
    }

    /// What comes of it, without what may differ.
    fn tell(&mut self, sql: &str) -> Vec<String> {
        self.client.send_query(&sql.replace('#', &self.number.to_string()));
        self.hear()
    }

    fn run_prepared(&mut self, name: &str, sql: Option<&str>) -> Vec<String> {
        let mut bytes = Vec::new();
        if let Some(sql) = sql {
            parse(&mut bytes, name, sql);
        }
        run(&mut bytes, name);
        self.client.send(&bytes);
        self.hear()
    }

    fn hear(&mut self) -> Vec<String> {
        let mut heard = Vec::new();
        for message in self.client.until(b'Z') {
            match message.tag {
                b'S' => {
                    let (name, value) = message.parameter();
                    self.reported.insert(name, value);
                }
                b'D' => heard.push(format!("{:?}", message.values())),
                b'E' => heard.push(format!("{} {}", message.report().code, message.report().message)),
                b'A' => heard.push("a notification".to_owned()),
                b'Z' => self.status = message.body[0],
                b'C' => heard.push(message.text()),
                _ => {}
            }
        }
        heard
    }
}

/// A client through the pooler, and its twin with a connection of its own.
struct Twins {
    pooled: Side,
    direct: Side,
    is_busy: bool,
    /// What it has done lately.
    story: Vec<String>,
}

impl Twins {
    fn open(pooler: &Pooler, number: usize, dice: &mut Dice) -> Twins {
        let (mut pooled, mut direct) = (pooler.login(), Login::new("postgres"));
        let wishes = [
            ("search_path", "pg_catalog"),
            ("TimeZone", "Asia/Tokyo"),
            ("options", "-c work_mem=7MB -c app.x=given"),
            ("application_name", "hunter"),
            ("statement_timeout", "99s"),
        ];
        for (name, value) in wishes {
            if dice.roll(4) == 0 {
                (pooled, direct) = (pooled.with(name, value), direct.with(name, value));
            }
        }
        let pooled = pooled.open(&pooler.address());
        let direct = direct.open(&Address::local(direct::shared().port()));
        Twins {
            pooled: Side::new(pooled, number),
            direct: Side::new(direct, number + 1_000_000),
            is_busy: false,
            story: Vec::new(),
        }
    }

    /// Whether all of it could be done: the twins agree on what came of it.
    #[track_caller]
    fn compare(&mut self, what: &str, seed: u64, step: usize, act: impl Fn(&mut Side) -> Vec<String>) {
        self.story.push(what.to_owned());
        let lately = &self.story[self.story.len().saturating_sub(30)..];
        let story = format!("seed {seed}, step {step}, client {}: {}", self.pooled.number, lately.join("\n  "));
        let (pooled, direct) = (act(&mut self.pooled), act(&mut self.direct));
        let plain = |side: &Side, heard: Vec<String>| -> Vec<String> {
            heard.iter().map(|line| line.replace(&side.number.to_string(), "#")).collect()
        };
        let (pooled, direct) = (plain(&self.pooled, pooled), plain(&self.direct, direct));
        assert_eq!(pooled, direct, "{story}");
        assert_eq!(char::from(self.pooled.status), char::from(self.direct.status), "{story}");
        let differs = |(name, value): &(&String, &String)| self.direct.reported.get(*name) != Some(value);
        let told: Vec<_> = self.pooled.reported.iter().filter(differs).collect();
        assert!(told.is_empty(), "{story}: told {told:?}, and the twin {:?}", self.direct.reported);
    }

    fn look(&mut self, seed: u64, step: usize) {
        if self.direct.status != b'E' {
            // Within a block a server does not tell what it has just been told.
            let is_outside = self.direct.status == b'I';
            let seen = if is_outside { SEEN.to_owned() } else { SEEN.replace(CHANNELS, "''") };
            self.compare("", seed, step, |side| side.tell(&seen));
        }
        self.is_busy = self.direct.status != b'I' || self.direct.client.value(HELD) != "0";
    }
}

fn number(name: &str, usual: u64) -> u64 {
    env::var(name).ok().map_or(usual, |text| text.parse().unwrap_or_else(|_| panic!("{name} must be a number")))
}

#[test]
fn nobody_meets_anything_of_anybodys_session() {
    let (steps, seed) = (number("LEAK_HUNT_STEPS", STEPS as u64) as usize, number("LEAK_HUNT_SEED", 20_261_121));
    let setup = Setup::new().set("default_pool_size", SERVERS as i64).set("max_pinned", SERVERS as i64);
    let pooler = setup.database_set("app", "user", "postgres").start();
    let mut dice = Dice(seed | 1);
    for _ in 0..10 {
        dice.roll(2);
    }
    let mut clients: Vec<_> = (0..CLIENTS).map(|number| Twins::open(&pooler, FIRST + number, &mut dice)).collect();
    let (mut done, mut held) = (BTreeMap::<&str, usize>::new(), 0);
    for step in 0..steps {
        let busy = clients.iter().filter(|twins| twins.is_busy).count();
        let at = dice.roll(CLIENTS);
        let twins = &mut clients[at];
        let (kind, statement) = STATEMENTS[dice.roll(STATEMENTS.len())];
        let is_full = !twins.is_busy && busy >= SERVERS - 1;
        if (kind == Holds && is_full) || (kind == Alone && twins.direct.status != b'I') {
            continue;
        }
        match dice.roll(40) {
            0 if !twins.is_busy || dice.roll(3) == 0 => {
                let number = twins.pooled.number + CLIENTS;
                let old = std::mem::replace(twins, Twins::open(&pooler, number, &mut dice));
                if dice.roll(2) == 0 {
                    old.pooled.client.bye();
                }
                continue;
            }
            1..=3 => {
                let (name, sql) = ("shared", "select current_setting('work_mem'), current_setting('search_path')");
                let is_new = dice.roll(2) == 0;
                twins
                    .compare("a prepared statement", seed, step, |side| side.run_prepared(name, is_new.then_some(sql)));
            }
            4 => {
                let sql = format!("select set_config('statement_timeout', '4{}s', false)", dice.roll(4));
                twins.compare(&sql, seed, step, |side| side.run_prepared("", Some(&sql)));
            }
            _ => {
                let sql = statement.replace('@', &(1 + dice.roll(4)).to_string());
                twins.compare(&sql, seed, step, |side| side.tell(&sql));
            }
        }
        *done.entry(statement).or_default() += 1;
        twins.look(seed, step);
        held += usize::from(twins.is_busy);
    }
    println!("{steps} steps, seed {seed}: {} kinds of statements done, {held} times a server was kept", done.len());
    assert!(done.len() > STATEMENTS.len() / 2 && held > steps / 20, "the hunt was tame: {} {held}", done.len());
}
