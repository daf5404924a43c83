//! The types a setting can have: how each is read, shown and written.

use std::time::Duration;

use crate::raw::Raw;

/// A bound on time; `None` means never. Written as 0 in the files.
pub type Timeout = Option<Duration>;

/// A bound on a number; `None` means unlimited. Written as 0 in the files.
pub type Limit = Option<u32>;

/// The longest time a setting can hold: 68 years, PostgreSQL's own limit for times in seconds.
pub(crate) const MAX_SECONDS: f64 = 2_147_483_647.0;

/// A type of setting.
pub(crate) trait Value: Sized + PartialEq {
    /// Completes "expected …" in messages and the manual.
    const EXPECTED: &'static str;
    /// Reads a value from any dialect.
    fn read(raw: &Raw) -> Result<Self, String>;
    /// SHOW CONFIG's form, which is also the ini form.
    fn text(&self) -> String;
    /// The TOML form; reads back to an equal value.
    fn toml(&self) -> String {
        self.text()
    }
    /// The TOML form for eyes and logs: as [`Value::toml`], without secrets.
    fn masked(&self) -> String {
        self.toml()
    }
}

impl Value for bool {
    const EXPECTED: &'static str = "true, false, 1 or 0";

    fn read(raw: &Raw) -> Result<Self, String> {
        match (raw, raw.integer()) {
            (Raw::Boolean(value), _) => Ok(*value),
            (_, Some(0)) => Ok(false),
            (_, Some(1)) => Ok(true),
            (Raw::Ini(_), _) => Err(raw.not("1 or 0")),
            _ => Err(raw.not(Self::EXPECTED)),
        }
    }

    fn text(&self) -> String {
        u8::from(*self).to_string()
    }

    fn toml(&self) -> String {
        self.to_string()
    }
}

macro_rules! whole_numbers {
    ($($type:ty: $expected:literal),+) => {$(
        impl Value for $type {
            const EXPECTED: &'static str = $expected;

            fn read(raw: &Raw) -> Result<Self, String> {
                raw.integer().and_then(|number| number.try_into().ok()).ok_or_else(|| raw.not(Self::EXPECTED))
            }

            fn text(&self) -> String {
                self.to_string()
            }
        }
    )+};
}

whole_numbers! {
    u16: "a whole number from 0 to 65535",
    u32: "a whole number from 0 to 4294967295"
}

impl Value for Limit {
    const EXPECTED: &'static str = "a whole number (0 = unlimited)";

    fn read(raw: &Raw) -> Result<Self, String> {
        let number = u32::read(raw).map_err(|_| raw.not(Self::EXPECTED))?;
        Ok((number > 0).then_some(number))
    }

    fn text(&self) -> String {
        self.unwrap_or(0).to_string()
    }
}

impl Value for Duration {
    const EXPECTED: &'static str =
        "seconds (fractions allowed) or text with a unit such as \"5s\", \"200ms\", \"1min\"";

    fn read(raw: &Raw) -> Result<Self, String> {
        let found = match raw {
            Raw::Ini(text) => plain_seconds(text).ok_or("seconds, without a unit"),
            Raw::Pair(text) => text.parse::<u32>().map(f64::from).map_err(|_| "whole seconds, without a unit"),
            Raw::Text(text) => with_unit(text).ok_or(Self::EXPECTED),
            Raw::Integer(seconds) => Ok(*seconds as f64),
            Raw::Float(seconds) => Ok(*seconds),
            Raw::Boolean(_) | Raw::List(_) | Raw::Other(_) => Err(Self::EXPECTED),
        };
        let seconds = found.map_err(|expected| raw.not(expected))?;
        from_seconds(seconds)
            .ok_or_else(|| raw.not("a time from 0 to 2147483647 seconds, not finer than a microsecond"))
    }

    fn text(&self) -> String {
        (self.as_micros() as f64 / 1e6).to_string()
    }

    fn toml(&self) -> String {
        let micros = self.as_micros();
        match (micros % 1_000_000, micros % 1_000) {
            (0, _) => self.as_secs().to_string(),
            (_, 0) => format!("\"{}ms\"", micros / 1_000),
            _ => format!("\"{micros}us\""),
        }
    }
}

impl Value for Timeout {
    const EXPECTED: &'static str =
        "seconds (fractions allowed) or text with a unit such as \"5s\", \"200ms\", \"1min\" (0 = never)";

    fn read(raw: &Raw) -> Result<Self, String> {
        Duration::read(raw).map(|time| (!time.is_zero()).then_some(time))
    }

    fn text(&self) -> String {
        self.unwrap_or_default().text()
    }

    fn toml(&self) -> String {
        self.unwrap_or_default().toml()
    }
}

/// Seconds as `strtod` reads them, without its names (`inf`, `nan`) and signs.
fn plain_seconds(text: &str) -> Option<f64> {
    if text.starts_with(|c: char| c.is_ascii_digit() || c == '.') { text.parse().ok() } else { None }
}

fn with_unit(text: &str) -> Option<f64> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let number: f64 = text[..end].parse().ok()?;
    let unit = match text[end..].trim() {
        "us" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        "min" => 60.0,
        "h" => 3_600.0,
        "d" => 86_400.0,
        _ => return None,
    };
    Some(number * unit)
}

fn from_seconds(seconds: f64) -> Option<Duration> {
    // NaN fails the range, too.
    if !(0.0..=MAX_SECONDS).contains(&seconds) {
        return None;
    }
    let micros = (seconds * 1e6).round() as u64;
    // Rounding a tiny time to zero would turn it into "never".
    (seconds == 0.0 || micros > 0).then(|| Duration::from_micros(micros))
}

impl Value for String {
    const EXPECTED: &'static str = "text";

    fn read(raw: &Raw) -> Result<Self, String> {
        let text = raw.text().ok_or_else(|| raw.not(Self::EXPECTED))?;
        // The wire protocol ends its strings with NUL.
        if text.contains('\0') {
            return Err("text must not contain NUL".into());
        }
        Ok(text.to_string())
    }

    fn text(&self) -> String {
        self.clone()
    }

    fn toml(&self) -> String {
        quote(self)
    }
}

impl Value for Vec<String> {
    const EXPECTED: &'static str = "text with commas, or a list of text";

    fn read(raw: &Raw) -> Result<Self, String> {
        let tidy = |item: &str| (!item.trim().is_empty()).then(|| item.trim().to_string());
        let items: Self = match raw {
            Raw::List(items) if items.iter().any(|item| item.contains(',')) => {
                return Err("an item of a list must not contain a comma".into());
            }
            Raw::List(items) => items.iter().filter_map(|item| tidy(item)).collect(),
            _ => raw.text().ok_or_else(|| raw.not(Self::EXPECTED))?.split(',').filter_map(tidy).collect(),
        };
        if items.iter().any(|item| item.contains('\0')) {
            return Err("text must not contain NUL".into());
        }
        Ok(items)
    }

    fn text(&self) -> String {
        self.join(",")
    }

    fn toml(&self) -> String {
        let items: Self = self.iter().map(|item| quote(item)).collect();
        format!("[{}]", items.join(", "))
    }
}

/// Permission bits of a file, as `chmod` takes them; written as octal text (`"0777"`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileMode(pub u32);

impl Value for FileMode {
    const EXPECTED: &'static str = "octal text such as \"0777\"";

    fn read(raw: &Raw) -> Result<Self, String> {
        let mode = match raw {
            Raw::Text(digits) => u32::from_str_radix(digits, 8).ok(),
            _ if matches!(raw, Raw::Ini(_)) => raw.integer().and_then(|mode| mode.try_into().ok()),
            _ => None,
        };
        mode.filter(|mode| *mode <= 0o7777).map(Self).ok_or_else(|| raw.not(Self::EXPECTED))
    }

    /// Decimal, as PgBouncer's SHOW CONFIG prints it.
    fn text(&self) -> String {
        self.0.to_string()
    }

    fn toml(&self) -> String {
        format!("\"{:04o}\"", self.0)
    }
}

/// Text as a TOML basic string; also good for keys.
pub(crate) fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() => out.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// A table key in TOML: bare where that is allowed.
pub(crate) fn toml_key(key: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if !key.is_empty() && key.chars().all(bare) { key.to_string() } else { quote(key) }
}
