//! Clients at work: each in a thread of its own, counting what was acknowledged and keeping every error.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};

use super::{Address, Client, Login, Report, eventually};

/// Clients that insert rows until they are stopped.
#[derive(Debug)]
pub struct Load {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
    clients: Vec<JoinHandle<Vec<Report>>>,
}

/// What became of it.
#[derive(Debug)]
pub struct Outcome {
    /// Transactions that were acknowledged.
    pub done: u64,
    pub errors: Vec<Report>,
}

impl Load {
    /// Starts `count` clients; each logs in and runs `work` again and again. It logs in anew when its session was ended.
    pub fn start(
        count: usize,
        address: &Address,
        login: &Login,
        work: impl Fn(&mut Client) -> Work + Send + Sync + 'static,
    ) -> Load {
        let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let work: Arc<dyn Fn(&mut Client) -> Work + Send + Sync> = Arc::new(work);
        let clients = (0..count).map(|_| {
            let task = Task {
                address: address.clone(),
                login: login.clone(),
                work: work.clone(),
                stop: stop.clone(),
                done: done.clone(),
            };
            thread::spawn(move || task.run())
        });
        Load { clients: clients.collect(), stop, done }
    }

    /// Transactions acknowledged so far.
    pub fn done(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }

    /// Waits until that many more are done.
    #[track_caller]
    pub fn advance(&self, count: u64) {
        let wanted = self.done() + count;
        eventually("the load goes on", || self.done() >= wanted || self.clients.iter().all(JoinHandle::is_finished));
        assert!(self.done() >= wanted, "all clients have ended");
    }

    /// Lets every client finish what it is at.
    #[track_caller]
    pub fn finish(self) -> Outcome {
        self.stop.store(true, Ordering::Relaxed);
        let errors = self.clients.into_iter().flat_map(|client| client.join().expect("a client of the load failed"));
        Outcome { errors: errors.collect(), done: self.done.load(Ordering::Relaxed) }
    }
}

/// One transaction: acknowledged, or an error.
pub type Work = Result<(), Report>;

struct Task {
    address: Address,
    login: Login,
    work: Arc<dyn Fn(&mut Client) -> Work + Send + Sync>,
    stop: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
}

impl Task {
    fn run(self) -> Vec<Report> {
        let mut errors = Vec::new();
        let mut client = None;
        while !self.stop.load(Ordering::Relaxed) {
            match self.once(&mut client) {
                Ok(()) => {
                    self.done.fetch_add(1, Ordering::Relaxed);
                }
                Err(report) => {
                    let is_over = report.severity != "ERROR";
                    errors.push(report);
                    client.take_if(|client| is_over || client.try_rows("rollback").is_err());
                }
            }
        }
        errors
    }

    fn once(&self, client: &mut Option<Client>) -> Work {
        let client = match client {
            Some(client) => client,
            None => client.insert(self.login.try_open(&self.address)?),
        };
        (self.work)(client)
    }
}

/// One row into the table, in a transaction of three statements.
pub fn transaction_into(table: &str) -> impl Fn(&mut Client) -> Work + Send + Sync + 'static {
    let sql = format!("insert into {table} values (1)");
    move |client| {
        client.try_rows("begin")?;
        client.try_rows(&sql)?;
        client.try_rows("commit").map(drop)
    }
}
