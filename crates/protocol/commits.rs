//! Which of a client's messages commits its block and does nothing else. What is overlooked here stays unknown after a
//! loss, and what is mistaken costs a question: the verdict reads the messages once more.

use crate::header::Header;
use crate::lost::names::{Names, cstr};
use crate::statements::ClientStatements;
use crate::transaction::{Step, steps};

/// Longest message that is looked at, as far as it is: a COMMIT is short.
const LONGEST: usize = 1 << 10;

/// What is remembered of a client's messages.
#[derive(Debug, Default)]
pub struct Commits {
    names: Names,
    /// Something was executed since the last Sync.
    has_run: bool,
}

impl Commits {
    /// For the next conversation.
    pub fn reset(&mut self) {
        self.names.clear();
        self.has_run = false;
    }

    /// Notes a message, of which `body` has arrived: whether it is a COMMIT, alone in its Query or the first in its batch.
    /// It may be asked again about the same one.
    pub fn is_commit(&mut self, header: Header, body: &[u8], client: &ClientStatements) -> bool {
        let is_whole = body.len() == header.body_len();
        let body = &body[..body.len().min(LONGEST)];
        match header.tag {
            b'P' => drop(self.names.parse(body)),
            b'B' => drop(self.names.bind(body, client)),
            b'E' => {
                let is_commit = self.names.execute(body) == Step::Commit;
                self.has_run |= !is_commit;
                return is_commit && !self.has_run;
            }
            b'Q' => {
                self.has_run = false;
                return is_whole && header.body_len() <= LONGEST && steps(cstr(body).0) == [Step::Commit];
            }
            b'S' => self.has_run = false,
            _ => {}
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::messages;

    fn ask(commits: &mut Commits, tag: u8, body: &[u8]) -> bool {
        let mut message = Vec::new();
        messages::message(&mut message, tag, |out| out.extend_from_slice(body));
        let header = Header::peek(&message).unwrap().unwrap();
        commits.is_commit(header, body, &ClientStatements::default())
    }

    #[test]
    fn a_commit_is_known_alone_in_its_query() {
        let mut commits = Commits::default();
        for text in ["commit\0", "END;\0", "/* x */ commit work\0"] {
            assert!(ask(&mut commits, b'Q', text.as_bytes()), "{text}");
        }
        for text in ["commit and chain\0", "insert into t values (1); commit\0", "commit; begin\0", "rollback\0"] {
            assert!(!ask(&mut commits, b'Q', text.as_bytes()), "{text}");
        }
        let comment = format!("/*{}*/ commit\0", "x".repeat(LONGEST));
        assert!(!ask(&mut commits, b'Q', comment.as_bytes()), "too long to be looked at");
    }

    #[test]
    fn a_commit_is_known_by_the_portal_that_is_executed_first_in_its_batch() {
        let mut commits = Commits::default();
        let (bind, execute) = (b"\0s\0\0\0\0\0\0\0", [0; 5]);
        assert!(!ask(&mut commits, b'P', b"s\0commit\0\0\0"));
        assert!(!ask(&mut commits, b'B', bind));
        assert!(ask(&mut commits, b'E', &execute) && ask(&mut commits, b'E', &execute));
        assert!(!ask(&mut commits, b'S', b""));
        assert!(!ask(&mut commits, b'P', b"\0select 1\0\0\0"));
        assert!(!ask(&mut commits, b'B', b"\0\0\0\0\0\0\0\0"));
        assert!(!ask(&mut commits, b'E', &execute));
        assert!(!ask(&mut commits, b'B', bind));
        assert!(!ask(&mut commits, b'E', &execute), "something was executed before");
        assert!(!ask(&mut commits, b'S', b""));
        assert!(!ask(&mut commits, b'B', bind));
        assert!(ask(&mut commits, b'E', &execute));
    }
}
