//! Counters of a pool: added up where the pool is locked anyway, read by SHOW STATS and the metrics page.

use std::ops::{Add, AddAssign};

/// Upper bounds of the histograms' buckets are `100 µs × 2^n`; the last bucket has no bound.
pub const BUCKETS: usize = 20;

/// How often something took how long.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Histogram {
    /// Observations per bucket, not cumulated.
    pub buckets: [u64; BUCKETS],
    /// Their sum in microseconds.
    pub sum: u64,
}

impl Histogram {
    /// The number of the bucket for a duration in microseconds.
    pub fn bucket(micros: u64) -> usize {
        let hundreds = micros.div_ceil(100).max(1);
        (hundreds.next_power_of_two().trailing_zeros() as usize).min(BUCKETS - 1)
    }

    /// Upper bound of a bucket in seconds; none for the last.
    pub fn bound(bucket: usize) -> Option<f64> {
        (bucket < BUCKETS - 1).then(|| 1e-4 * f64::from(1u32 << bucket))
    }

    /// Counts one observation, in microseconds.
    pub fn observe(&mut self, micros: u64) {
        self.buckets[Self::bucket(micros)] += 1;
        self.sum += micros;
    }

    /// How many observations there were.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }
}

impl AddAssign for Histogram {
    fn add_assign(&mut self, other: Self) {
        self.buckets.iter_mut().zip(other.buckets).for_each(|(mine, theirs)| *mine += theirs);
        self.sum += other.sum;
    }
}

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident;)*) => {
        /// Totals since a pool was made, in the order of SHOW STATS. Times are microseconds, sizes are bytes.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct Totals { $($(#[$doc])* pub $name: u64,)* }

        impl Totals {
            /// Names in order.
            pub const NAMES: &[&str] = &[$(stringify!($name)),*];

            /// Values in the order of the names.
            pub fn values(&self) -> [u64; Self::NAMES.len()] {
                [$(self.$name),*]
            }

            /// What was added since `earlier`.
            pub fn since(&self, earlier: &Self) -> Self {
                Self { $($name: self.$name.saturating_sub(earlier.$name),)* }
            }
        }

        impl Add for Totals {
            type Output = Self;
            fn add(self, other: Self) -> Self {
                Self { $($name: self.$name + other.$name,)* }
            }
        }
    };
}

counters! {
    /// Times a client was given a server.
    server_assignment_count;
    /// Transactions.
    xact_count;
    /// Queries; a pipelined batch up to its last answer is one.
    query_count;
    /// Bytes from clients.
    bytes_received;
    /// Bytes from servers.
    bytes_sent;
    /// Time with a server in a transaction.
    xact_time;
    /// Time with a server at work.
    query_time;
    /// Time in the queue.
    wait_time;
    /// Prepared statements that clients made.
    client_parse_count;
    /// Prepared statements that were made on servers.
    server_parse_count;
    /// Times a prepared statement was bound.
    bind_count;
    /// Logins.
    client_login_count;
}

/// All that a pool counts.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stats {
    /// Totals since the pool was made.
    pub totals: Totals,
    /// Totals when the current stats period began.
    pub period: Totals,
    /// Totals when the period before it began.
    pub last_period: Totals,
    /// Time in the queue.
    pub wait: Histogram,
    /// Time of queries.
    pub query: Histogram,
    /// Time of transactions.
    pub xact: Histogram,
}

impl Stats {
    /// Ends a stats period: averages are of the period that has just ended.
    pub fn roll(&mut self) {
        self.last_period = self.period;
        self.period = self.totals;
    }

    /// What the last whole period added.
    pub fn last(&self) -> Totals {
        self.period.since(&self.last_period)
    }

    /// Adds what a lease has used.
    pub fn add(&mut self, usage: &Usage) {
        self.totals = self.totals + usage.totals;
        self.query += usage.query;
        if usage.totals.server_assignment_count > 0 {
            self.wait.observe(usage.totals.wait_time);
        }
        if usage.totals.xact_count > 0 {
            self.xact.observe(usage.totals.xact_time);
        }
    }
}

/// What one lease has used so far and has not been added up.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// Counted like the pool's.
    pub totals: Totals,
    /// Time of its queries.
    pub query: Histogram,
}

impl Usage {
    /// Counts a query that took this many microseconds.
    pub fn query(&mut self, micros: u64) {
        self.totals.query_count += 1;
        self.totals.query_time += micros;
        self.query.observe(micros);
    }

    /// Counts a transaction that took this many microseconds.
    pub fn xact(&mut self, micros: u64) {
        self.totals.xact_count += 1;
        self.totals.xact_time += micros;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_holds_what_its_bound_says() {
        for (micros, bucket) in [(0, 0), (100, 0), (101, 1), (200, 1), (201, 2), (u64::MAX / 2, BUCKETS - 1)] {
            assert_eq!(Histogram::bucket(micros), bucket, "{micros} µs");
        }
        assert_eq!((Histogram::bound(0), Histogram::bound(BUCKETS - 1)), (Some(1e-4), None));
    }

    #[test]
    fn averages_are_of_the_period_that_ended() {
        let mut stats = Stats::default();
        stats.totals.query_count = 5;
        stats.roll();
        stats.totals.query_count = 12;
        stats.roll();
        assert_eq!(stats.last().query_count, 7);
    }
}
