//! Text that is fit for the readers of files.

use std::path::Path;

use config::{Problem, Problems};

/// Where the text would be: relative names in it lead nowhere.
pub const NOWHERE: &str = "/nonexistent/fuzz";

/// The input as text; `None` if it is none, or names devices, which may be endless or wait for somebody to type.
pub fn of(input: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(input).ok()?;
    // A name may be broken by quotes and continued lines.
    let plain: String = text.chars().filter(|c| !matches!(c, '"' | '\'' | '\\' | '\r' | '\n')).collect();
    (!["/dev", "/proc", "/sys", "//", "/.", "\u{1b}"].iter().any(|name| plain.contains(name))).then_some(text)
}

/// Every refusal says what is wrong, in order, on one line, at a place that exists, and in few words.
pub fn check_problems(problems: &Problems, path: &Path, text: &str) {
    assert!(!problems.0.is_empty() && problems.0.is_sorted());
    problems.0.iter().for_each(|problem| check_problem(problem, path, text));
}

/// See [`check_problems`].
pub fn check_problem(problem: &Problem, path: &Path, text: &str) {
    if problem.file == path {
        let lines = text.matches('\n').count() + 1;
        assert!((1..=lines).contains(&problem.line), "{problem}");
        let line = text.split('\n').nth(problem.line - 1).unwrap_or_default();
        assert!((1..=line.chars().count() + 1).contains(&problem.col), "{problem}");
    }
    assert!(!problem.message.is_empty() && !problem.message.contains(['\n', '\r', '\0']), "{problem:?}");
    // A name may be shown twice, and each byte of it as an escape.
    assert!(problem.message.len() <= text.len() * 12 + 1000, "{problem}");
}
