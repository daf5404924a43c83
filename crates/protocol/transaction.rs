//! What statements do to the transaction they are sent in: read only when a server is lost, and never on the way of a query.

use crate::deallocate::{Token, Tokens};

/// What one statement does to a transaction block.
///
/// Source: manual, the commands of "SQL Commands" that begin with these words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// SELECT, INSERT, UPDATE, DELETE or MERGE: it ends no transaction, and leaves nothing if it is rolled back.
    Plain,
    /// BEGIN, START TRANSACTION.
    Begin,
    /// COMMIT, END.
    Commit,
    /// ROLLBACK, ABORT.
    Rollback,
    /// PREPARE TRANSACTION.
    Prepare,
    /// COMMIT AND CHAIN.
    CommitAndChain,
    /// ROLLBACK AND CHAIN.
    RollbackAndChain,
    /// Any other: it commits no block, but may leave something of itself although its own transaction is rolled back.
    Other,
    /// A text without a statement.
    Nothing,
    /// It cannot be told.
    Unclear,
}

impl Step {
    /// Whether it ends a block and begins no other.
    pub fn ends_block(self) -> bool {
        matches!(self, Self::Commit | Self::Rollback | Self::Prepare)
    }

    /// The step of a text that may have one statement only, as a Parse.
    pub fn of(text: &[u8]) -> Self {
        match steps(text)[..] {
            [] => Self::Nothing,
            [step] => step,
            _ => Self::Unclear,
        }
    }

    /// Whether a block that it ends may have been made durable by it.
    pub fn may_commit_block(self) -> bool {
        matches!(self, Self::Commit | Self::CommitAndChain | Self::Prepare | Self::Unclear)
    }
}

/// Tokens by which a statement is known.
const ENOUGH: usize = 6;

/// The steps of a text, one for each statement in it that is not empty.
///
/// Strings are read as with `standard_conforming_strings` on.
pub fn steps(text: &[u8]) -> Vec<Step> {
    let mut tokens = Tokens::new(text);
    let mut found = Vec::new();
    loop {
        let mut statement = Vec::with_capacity(ENOUGH);
        let mut has_body = false;
        let end = loop {
            match tokens.next() {
                end @ (None | Some(Token::End)) => break end,
                Some(token) => {
                    has_body |= is(Some(&token), "atomic");
                    if statement.len() < ENOUGH {
                        statement.push(token);
                    }
                }
            }
        };
        if has_body && is(statement.first(), "create") {
            // BEGIN ATOMIC … END: the semicolons within do not end it.
            found.push(Step::Unclear);
            return found;
        }
        if !statement.is_empty() {
            found.push(step(&statement));
        }
        if end.is_none() {
            return found;
        }
    }
}

fn is(token: Option<&Token<'_>>, word: &str) -> bool {
    matches!(token, Some(Token::Word(found)) if found.eq_ignore_ascii_case(word.as_bytes()))
}

fn step(statement: &[Token<'_>]) -> Step {
    let first_is = |words: &[&str]| words.iter().any(|word| is(statement.first(), word));
    if first_is(&["select", "insert", "update", "delete", "merge", "with"]) {
        Step::Plain
    } else if first_is(&["begin"]) || first_is(&["start"]) && is(statement.get(1), "transaction") {
        Step::Begin
    } else if first_is(&["commit", "end"]) {
        ending(&statement[1..], Step::Commit, Step::CommitAndChain)
    } else if first_is(&["rollback", "abort"]) {
        ending(&statement[1..], Step::Rollback, Step::RollbackAndChain)
    } else if first_is(&["prepare"]) && is(statement.get(1), "transaction") {
        Step::Prepare
    } else {
        Step::Other
    }
}

/// What follows COMMIT or ROLLBACK decides: with PREPARED or TO it is another command.
fn ending(mut rest: &[Token<'_>], plain: Step, chained: Step) -> Step {
    if is(rest.first(), "work") || is(rest.first(), "transaction") {
        rest = &rest[1..];
    }
    let words = |expected: &[&str]| {
        rest.len() == expected.len() && rest.iter().zip(expected).all(|(token, word)| is(Some(token), word))
    };
    if words(&[]) || words(&["and", "no", "chain"]) {
        plain
    } else if words(&["and", "chain"]) {
        chained
    } else {
        Step::Other
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn is_read_as(text: &str, expected: &[Step]) {
        assert_eq!(steps(text.as_bytes()), expected, "{text}");
    }

    #[test]
    fn the_ends_of_a_block_are_known_in_all_their_spellings() {
        for text in ["commit", "END;", "Commit Work", "/* x */ end transaction ; -- y", "commit and no chain\0"] {
            is_read_as(text, &[Step::Commit]);
        }
        for text in ["rollback", "ABORT;\0", "rollback work", "abort transaction and no chain ;;"] {
            is_read_as(text, &[Step::Rollback]);
        }
        is_read_as("prepare transaction 'x'", &[Step::Prepare]);
        is_read_as("commit work and chain", &[Step::CommitAndChain]);
        is_read_as("rollback and chain", &[Step::RollbackAndChain]);
    }

    #[test]
    fn what_begins_like_the_end_of_a_block_is_none() {
        for text in [
            "commit prepared 'x'",
            "rollback prepared 'x'",
            "rollback to s",
            "rollback work to savepoint s",
            "prepare s as select 1",
            "commitment",
            "commit commit",
            "commit and",
            "release s",
            "savepoint s",
        ] {
            is_read_as(text, &[Step::Other]);
        }
    }

    #[test]
    fn each_statement_of_a_text_is_a_step() {
        is_read_as("begin; insert into t values ('; commit;'); commit", &[Step::Begin, Step::Plain, Step::Commit]);
        is_read_as("start transaction read only; select $$;rollback;$$", &[Step::Begin, Step::Plain]);
        is_read_as("with x as (select 1) select * from x; call p();", &[Step::Plain, Step::Other]);
        is_read_as(" ; -- commit\n /* end; */ ;", &[]);
    }

    #[test]
    fn the_body_of_a_function_hides_what_follows() {
        let text = "insert into t values (1); create function f() returns int begin atomic select 1; end; commit";
        is_read_as(text, &[Step::Plain, Step::Unclear]);
    }

    mod laws {
        use super::*;
        use proptest::prelude::*;

        proptest! {
            #[test]
            fn a_commit_behind_any_closed_text_is_seen(text in "[a-z0-9 ,.]{0,20}( '[^'\\\\]{0,9}')?( \\$\\$[^$]{0,9}\\$\\$)?") {
                prop_assert_eq!(steps(format!("{text};commit").as_bytes()).pop(), Some(Step::Commit));
            }

            #[test]
            fn no_text_makes_it_panic(text in "[;'\"$ea\\\\/*\\-() \n1comitend]{0,40}") {
                steps(text.as_bytes());
            }
        }
    }
}
