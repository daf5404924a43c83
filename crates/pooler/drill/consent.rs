//! A failover of a formation that people depend on should not happen by a slip of the hand.

use std::io::{self, BufRead, IsTerminal, Write};

use super::standing::{Node, Standing};
use super::subject::{Cause, Subject};
use super::verdict::End;

/// Asks whether this formation is meant, if there is a terminal to ask at. Nobody can tell by its settings which
/// formation matters, so all do.
///
/// # Errors
/// It is not, or there is nobody to ask.
pub fn ask(subject: &Subject, standing: &Standing, primary: &Node) -> Result<(), End> {
    let Subject { formation, cause, .. } = subject;
    let what = match cause {
        Cause::Planned => format!("moves the primary of formation {formation} away from {}", primary.name),
        Cause::Killed(command) => format!("ends {}, the primary of formation {formation}, by: {command}", primary.name),
    };
    let nodes = standing.shown();
    if !io::stdin().is_terminal() {
        let why = format!("this {what}; without a terminal to ask at it needs --yes. Its nodes: {nodes}");
        return Err(End::Declined(why));
    }
    println!("This {what}.\nIts nodes: {nodes}");
    print!("The name of the formation, to go on: ");
    let mut answer = String::new();
    let heard = io::stdout().flush().and_then(|()| io::stdin().lock().read_line(&mut answer));
    match heard {
        Ok(_) if answer.trim() == formation => Ok(()),
        Ok(_) => Err(End::Declined("that is not its name".to_owned())),
        Err(error) => Err(End::Declined(error.to_string())),
    }
}
