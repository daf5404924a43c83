//! Runs the scenarios that are named on the command line, and says how each went.

use std::env;
use std::error::Error;
use std::fmt::Debug;

pub type Outcome = Result<(), Box<dyn Error + Send + Sync>>;

pub fn equal<T: PartialEq + Debug, U: Debug>(found: T, expected: U) -> Outcome
where
    T: PartialEq<U>,
{
    if found == expected {
        return Ok(());
    }
    Err(format!("{:.100} instead of {:.100}", format!("{found:?}"), format!("{expected:?}")).into())
}

/// The result must be an error with this SQLSTATE; any error will do if that is empty.
pub fn refused<T, E: Error + Send + Sync + 'static>(
    state: &str,
    code: impl Fn(&E) -> String,
    result: Result<T, E>,
) -> Outcome {
    match result {
        Ok(_) => Err(format!("no error, instead of {state}").into()),
        Err(error) if state.is_empty() || code(&error) == state => Ok(()),
        Err(error) => Err(error.into()),
    }
}

pub fn wanted() -> Vec<String> {
    env::args().skip(1).collect()
}

pub fn say(name: &str, outcome: Option<Outcome>) {
    match outcome {
        None => println!("skip {name} not in this driver"),
        Some(Ok(())) => println!("ok {name}"),
        Some(Err(error)) => {
            // tokio-postgres tells its cause only as a source.
            let cause = error.source().map_or(String::new(), |cause| format!(": {cause}"));
            println!("not ok {name} {}", format!("{error}{cause}").split_whitespace().collect::<Vec<_>>().join(" "));
        }
    }
}
