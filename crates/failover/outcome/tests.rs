//! What may be concluded, and what may not.

use super::*;

fn asked() -> Asked {
    Asked { xid: 1000, lsn: Lsn(0x5000), timeline: 3, system: SystemId(7), token: "token".into() }
}

fn node(timeline: u32) -> Answer {
    Answer {
        in_recovery: false,
        read_only: false,
        system: SystemId(7),
        timeline: Some(timeline),
        sync_on: true,
        walsenders: 1,
        started: "now".into(),
        lsn: None,
    }
}

fn history(text: &str) -> History {
    History::parse(text).expect("a history")
}

#[track_caller]
fn follows(timeline: u32, status: Status, read: Option<&str>, seen: Option<Seen>) -> Next {
    let history = read.map(history);
    judge(&asked(), &Found { node: &node(timeline), status, history: history.as_ref(), seen })
}

const KEPT: &str = "1\t0/1000\tno recovery target specified\n\n2\t0/2000\t\n3\t0/6000\tno recovery target specified\n";
const CUT_OFF: &str = "2\t0/2000\tx\n3\t0/4FF8\tx\n";
const ELSEWHERE: &str = "2\t0/2000\tx\n4\t0/6000\tx\n";

#[test]
fn an_id_that_nobody_commits_is_rolled_back_wherever_it_was_given() {
    for timeline in [3, 4] {
        for status in [Status::Aborted, Status::Future] {
            assert!(matches!(follows(timeline, status, None, None), Next::RolledBack(_)));
        }
    }
}

#[test]
fn a_committed_id_is_ours_only_with_its_mark() {
    assert_eq!(follows(3, Status::Committed, None, None), Next::LookForMark);
    assert_eq!(follows(3, Status::Committed, None, Some(Seen::Mark)), Next::Committed);
    assert_eq!(follows(4, Status::Committed, None, None), Next::ReadHistory);
    assert_eq!(follows(4, Status::Committed, Some(KEPT), None), Next::LookForMark);
    assert_eq!(follows(4, Status::Committed, Some(KEPT), Some(Seen::Mark)), Next::Committed);
    for timeline in [3, 4] {
        let seen = |seen| follows(timeline, Status::Committed, Some(KEPT), Some(seen));
        assert!(matches!(seen(Seen::Another), Next::RolledBack(_)));
        assert!(matches!(seen(Seen::Nothing), Next::RolledBack(_)));
        assert!(matches!(seen(Seen::Unclear), Next::Unknown(_)));
    }
}

#[test]
fn an_id_that_is_given_again_on_a_new_timeline_says_nothing_of_ours() {
    for history in [CUT_OFF, ELSEWHERE] {
        for status in [Status::Committed, Status::InProgress] {
            assert!(matches!(follows(5, status, Some(history), None), Next::RolledBack(_)), "{status:?}");
        }
    }
}

#[test]
fn a_mark_that_ends_where_its_timeline_does_is_there() {
    assert_eq!(follows(5, Status::Committed, Some("3\t0/5000\tx"), None), Next::LookForMark);
}

#[test]
fn the_end_of_the_first_timeline_counts_also_after_a_second_failover() {
    let twice = "3\t0/4000\tx\n4\t0/9000\tx\n";
    assert!(matches!(follows(5, Status::Committed, Some(twice), None), Next::RolledBack(_)));
}

#[test]
fn what_is_in_progress_is_waited_for() {
    assert!(matches!(follows(3, Status::InProgress, None, None), Next::Wait(_)));
    assert!(matches!(follows(4, Status::InProgress, Some(KEPT), None), Next::Wait(_)));
}

#[test]
fn another_system_an_older_timeline_and_a_forgotten_id_prove_nothing() {
    let other = Answer { system: SystemId(8), ..node(3) };
    let found = Found { node: &other, status: Status::Aborted, history: None, seen: None };
    assert!(matches!(judge(&asked(), &found), Next::Unknown(_)));
    assert!(matches!(follows(2, Status::Aborted, None, None), Next::Unknown(_)));
    assert!(matches!(follows(3, Status::Forgotten, None, None), Next::Unknown(_)));
    let standby = Answer { in_recovery: true, ..node(3) };
    let found = Found { node: &standby, status: Status::Aborted, history: None, seen: None };
    assert!(matches!(judge(&asked(), &found), Next::Wait(_)));
}

#[test]
fn the_question_reads_its_own_answer() {
    let row = [Some("754"), Some("0/5000"), Some("000000030000000000000001"), Some("7"), Some("token")];
    assert_eq!(Asked::parse(&row), Ok(Asked { xid: 754, ..asked() }));
    for (column, name) in [(0, "xid"), (1, "lsn"), (2, "pg_walfile_name"), (3, "system_identifier"), (4, "token")] {
        let mut row = row;
        row[column] = None;
        assert_eq!(Asked::parse(&row), Err(BadRow(name)));
        row[column] = Some("?");
        assert!(Asked::parse(&row).is_err() || column == 4);
    }
    assert_eq!(Status::parse(Some("in progress")), Ok(Status::InProgress));
    assert_eq!(Status::parse(None), Ok(Status::Forgotten));
    assert!(Status::parse(Some("?")).is_err());
}

#[test]
fn a_history_that_cannot_be_one_is_refused() {
    for text in ["", "# nothing\n", "x\t0/1\t", "1\n", "2\t0/10\tx\n1\t0/20\tx", "1\t0/20\tx\n2\t0/10\tx"] {
        assert!(History::parse(text).is_err(), "{text}");
    }
    assert_eq!(history(KEPT).end_of(2), Some(Lsn(0x2000)));
}

const BASE: u64 = 0x300_0000;
const TOKEN: &str = "0123456789abcdef";

/// A log of two pages, the first of them a segment's, in which the token ends at `end`.
fn log(end: usize) -> Vec<u8> {
    let mut log = vec![0xAA; 2 * 8192];
    let places = (0..2 * 8192).filter(|at| (40..8192).contains(at) || *at >= 8192 + 24);
    let places: Vec<usize> = places.take_while(|at| *at < end).collect();
    for (at, byte) in places[places.len() - TOKEN.len()..].iter().zip(TOKEN.bytes()) {
        log[*at] = byte;
    }
    for (at, flags) in [(0, 2u16), (8192, 0)] {
        log[at + 2..at + 4].copy_from_slice(&flags.to_le_bytes());
        log[at + 8..at + 16].copy_from_slice(&(BASE + at as u64).to_le_bytes());
    }
    log
}

fn look(log: &[u8], end: usize) -> Seen {
    let mut mark = Mark::before(Lsn(BASE + end as u64));
    let from = (mark.start().0 - BASE) as usize;
    for (number, piece) in log[from..].chunks(100).enumerate() {
        mark.feed(Lsn(mark.start().0 + 100 * number as u64), piece);
    }
    mark.look(TOKEN)
}

#[test]
fn the_mark_is_found_also_where_it_spans_two_pages() {
    for end in [400, 8192, 8192 + 24 + 4, 8192 + 24 + 16, 9000] {
        assert_eq!(look(&log(end), end), Seen::Mark, "{end}");
        assert_eq!(look(&log(end)[..end - 1], end), Seen::Unclear, "{end}");
        assert_eq!(look(&log(end - 100), end), Seen::Another, "{end}");
    }
}

#[test]
fn pages_that_are_not_as_expected_tell_nothing() {
    for (at, address) in [(0, 0u64), (4096, BASE + 4096), (1024, BASE + 1024)] {
        let mut log = log(6000);
        log[at + 8..at + 16].copy_from_slice(&address.to_le_bytes());
        assert_eq!(look(&log, 6000), Seen::Unclear, "{at}");
    }
}
