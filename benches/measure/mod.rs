//! One round of work, measured in either of two ways: criterion's time, or a given number of rounds for an instruction counter.

use std::env;
use std::hint::black_box;
use std::process::ExitCode;

use criterion::Criterion;

/// Takes the rounds of a bench one by one and measures each.
pub enum Measure {
    /// Nanoseconds, with criterion's own arguments.
    Time(Box<Criterion>),
    /// This round only, this often, and no word about it. Whoever counts from outside asks twice and takes the difference,
    /// so that start-up and preparations do not count.
    Repeat {
        /// Which round.
        name: String,
        /// How often.
        rounds: u64,
        /// Whether there is one of that name.
        found: bool,
    },
}

impl Measure {
    /// Measures `round`. Its result only keeps the compiler from leaving it out.
    pub fn round<R>(&mut self, name: &str, mut round: impl FnMut() -> R) {
        match self {
            Self::Time(criterion) => {
                criterion.bench_function(name, |bencher| bencher.iter(&mut round));
            }
            Self::Repeat { name: wanted, rounds, found } if wanted == name => {
                *found = true;
                for _ in 0..*rounds {
                    black_box(round());
                }
            }
            Self::Repeat { .. } => {}
        }
    }
}

/// The whole of a bench's `main`: `--rounds COUNT NAME` repeats one round, all other arguments are criterion's.
pub fn run(benches: &[fn(&mut Measure)]) -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let mut measure = match arguments.as_slice() {
        [flag, rounds, name] if flag == "--rounds" => {
            let Ok(rounds) = rounds.parse() else {
                eprintln!("--rounds takes a number, not {rounds:?}");
                return ExitCode::FAILURE;
            };
            Measure::Repeat { name: name.clone(), rounds, found: false }
        }
        _ => Measure::Time(Box::new(Criterion::default().configure_from_args())),
    };
    for bench in benches {
        bench(&mut measure);
    }
    match measure {
        Measure::Time(criterion) => criterion.final_summary(),
        Measure::Repeat { found: true, .. } => {}
        Measure::Repeat { name, found: false, .. } => {
            eprintln!("there is no round {name:?}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}
