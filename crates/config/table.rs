//! One row per setting: the table from which everything about a setting is derived.

use crate::raw::Raw;
use crate::value::Value;

/// When a changed value takes effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// At RELOAD or SET.
    Reload,
    /// Only at start.
    Restart,
}

/// Whether this version can do what a value asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Available {
    /// Every value is honoured.
    Yes,
    /// Only these values (in their ini form) are; the text says why.
    Only(&'static [&'static str], &'static str),
    /// Known, and without effect; the text says why.
    Inert(&'static str),
}

/// What a row says besides name, type and default.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rule {
    pub effect: Effect,
    pub available: Available,
    /// Shown as null while empty: PgBouncer has no default for it.
    pub null: bool,
    /// The smallest and largest number that make sense.
    pub range: Option<(u32, u32)>,
}

/// Takes effect at RELOAD or SET.
pub(crate) const fn reload() -> Rule {
    Rule { effect: Effect::Reload, available: Available::Yes, null: false, range: None }
}

/// Takes effect at start only.
pub(crate) const fn restart() -> Rule {
    Rule { effect: Effect::Restart, ..reload() }
}

impl Rule {
    pub const fn null(self) -> Self {
        Self { null: true, ..self }
    }

    pub const fn range(self, least: u32, most: u32) -> Self {
        Self { range: Some((least, most)), ..self }
    }

    pub const fn only(self, values: &'static [&'static str], why: &'static str) -> Self {
        Self { available: Available::Only(values, why), ..self }
    }

    pub const fn inert(self, why: &'static str) -> Self {
        Self { available: Available::Inert(why), ..self }
    }
}

/// Which numbers mean "as the next wider scope says" in an override.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Inherit {
    /// None: only an absent key inherits.
    Absent,
    /// -1 and below.
    Negative,
    /// 0 and below.
    ZeroOrLess,
}

/// A key of `T`, which is [`crate::Global`], [`crate::Database`], [`crate::User`], [`crate::Formation`] or [`crate::Peer`].
pub(crate) struct Key<T: 'static> {
    pub name: &'static str,
    pub help: &'static str,
    pub expected: &'static str,
    pub rule: Rule,
    pub set: fn(&mut T, &Raw) -> Result<(), String>,
    /// The ini form, `None` if not set.
    pub text: fn(&T) -> Option<String>,
    /// The TOML form, `None` if not set.
    pub toml: fn(&T) -> Option<String>,
    /// The TOML form without secrets.
    pub masked: fn(&T) -> Option<String>,
    pub same: fn(&T, &T) -> bool,
}

impl<T: Default> Key<T> {
    /// Reads a value into its owner; the message names the key.
    pub fn read(&self, owner: &mut T, raw: &Raw) -> Result<(), String> {
        (self.set)(owner, raw).map_err(|message| format!("{}: {message}", self.name))?;
        let number = (self.text)(owner).and_then(|text| text.parse::<u64>().ok());
        match (self.rule.range, number) {
            (Some((least, most)), Some(number)) if !(u64::from(least)..=u64::from(most)).contains(&number) => {
                Err(format!("{}: must be from {least} to {most}, not {number}", self.name))
            }
            _ => Ok(()),
        }
    }

    /// Whether what is shown of the value is less than the value.
    pub fn hides(&self, owner: &T) -> bool {
        (self.masked)(owner) != (self.toml)(owner)
    }

    /// Why this version cannot do what the value asks for, if it cannot.
    pub fn refusal(&self, owner: &T) -> Option<String> {
        let text = (self.text)(owner)?;
        let (values, why) = match self.rule.available {
            Available::Only(values, why) if !values.contains(&text.as_str()) => (values, why),
            Available::Yes | Available::Only(..) | Available::Inert(_) => return None,
        };
        let works = match values {
            [] | [""] => "leave it out".to_string(),
            [one] => format!("only {one:?} works"),
            several => format!("only {} work", several.join(", ")),
        };
        Some(format!("{}: {why}; {works}", self.name))
    }

    /// Why the value changes nothing, if it was changed in vain.
    pub fn futility(&self, owner: &T) -> Option<String> {
        match self.rule.available {
            Available::Inert(why) if !(self.same)(owner, &T::default()) => {
                Some(format!("{}: has no effect: {why}", self.name))
            }
            Available::Yes | Available::Only(..) | Available::Inert(_) => None,
        }
    }

    /// The help text, one line after the other without the margin of a doc comment.
    pub fn help_lines(&self) -> impl Iterator<Item = &'static str> {
        self.help.lines().map(str::trim).filter(|line| !line.is_empty())
    }
}

/// Reads an override of a narrower scope; `None` inherits.
pub(crate) fn read_override<T: Value>(raw: &Raw, inherit: Inherit) -> Result<Option<T>, String> {
    let inherits = |number: f64| match inherit {
        Inherit::Absent => false,
        Inherit::Negative => number < 0.0,
        Inherit::ZeroOrLess => number <= 0.0,
    };
    if number(raw).is_some_and(inherits) { Ok(None) } else { T::read(raw).map(Some) }
}

fn number(raw: &Raw) -> Option<f64> {
    use std::time::Duration;
    match raw {
        Raw::Float(number) => Some(*number),
        // "0s" is as much a zero as 0.
        Raw::Text(_) => Duration::read(raw).ok().map(|time| time.as_secs_f64()),
        Raw::Ini(_) | Raw::Pair(_) | Raw::Integer(_) => raw.integer().map(|number| number as f64),
        Raw::Boolean(_) | Raw::List(_) | Raw::Other(_) => None,
    }
}

/// Defines the global settings: struct, defaults and rows from one table.
macro_rules! settings {
    ($(#[$meta:meta])* pub struct $owner:ident; rows $rows:ident;
     $($(#[doc = $help:literal])+ $name:ident: $type:ty = $default:expr, $rule:expr;)+) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq)]
        pub struct $owner { $($(#[doc = $help])+ pub $name: $type,)+ }

        impl Default for $owner {
            fn default() -> Self {
                Self { $($name: $default,)+ }
            }
        }

        pub(crate) static $rows: &[Key<$owner>] = &[$(Key {
            name: stringify!($name),
            help: concat!($($help, "\n"),+),
            expected: <$type as Value>::EXPECTED,
            rule: $rule,
            set: |owner, raw| { owner.$name = Value::read(raw)?; Ok(()) },
            text: |owner| Some(Value::text(&owner.$name)),
            toml: |owner| Some(Value::toml(&owner.$name)),
            masked: |owner| Some(Value::masked(&owner.$name)),
            same: |one, other| one.$name == other.$name,
        },)+];
    };
}

/// Defines the keys of a narrower scope: `fixed` ones have a default of their own,
/// `overrides` are `None` where the next wider scope decides.
macro_rules! scope {
    ($(#[$meta:meta])* pub struct $owner:ident; rows $rows:ident;
     plain { $($(#[doc = $plain_help:literal])+ $plain:ident: $plain_type:ty = $plain_default:expr;)* }
     fixed { $($(#[doc = $fixed_help:literal])+ $key:literal $fixed:ident: $fixed_type:ty = $default:expr, $fixed_rule:expr;)* }
     overrides { $($(#[doc = $help:literal])+ $name:ident: $type:ty, $inherit:ident;)* }) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq)]
        pub struct $owner {
            $($(#[doc = $plain_help])+ pub $plain: $plain_type,)*
            $($(#[doc = $fixed_help])+ pub $fixed: $fixed_type,)*
            $($(#[doc = $help])+ pub $name: Option<$type>,)*
        }

        impl Default for $owner {
            fn default() -> Self {
                Self { $($plain: $plain_default,)* $($fixed: $default,)* $($name: None,)* }
            }
        }

        pub(crate) static $rows: &[Key<$owner>] = &[
            $(Key {
                name: $key,
                help: concat!($($fixed_help, "\n"),+),
                expected: <$fixed_type as Value>::EXPECTED,
                rule: $fixed_rule,
                set: |owner, raw| { owner.$fixed = Value::read(raw)?; Ok(()) },
                text: |owner| (owner.$fixed != $default).then(|| Value::text(&owner.$fixed)),
                toml: |owner| (owner.$fixed != $default).then(|| Value::toml(&owner.$fixed)),
                masked: |owner| (owner.$fixed != $default).then(|| Value::masked(&owner.$fixed)),
                same: |one, other| one.$fixed == other.$fixed,
            },)*
            $(Key {
                name: stringify!($name),
                help: concat!($($help, "\n"),+),
                expected: <$type as Value>::EXPECTED,
                rule: reload(),
                set: |owner, raw| { owner.$name = read_override(raw, Inherit::$inherit)?; Ok(()) },
                text: |owner| owner.$name.as_ref().map(Value::text),
                toml: |owner| owner.$name.as_ref().map(Value::toml),
                masked: |owner| owner.$name.as_ref().map(Value::masked),
                same: |one, other| one.$name == other.$name,
            },)*
        ];
    };
}

pub(crate) use {scope, settings};

/// A setting as the manual shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// The key.
    pub name: &'static str,
    /// What it is for, one or more lines.
    pub help: String,
    /// What may be written.
    pub expected: &'static str,
    /// The default in TOML; `None` for keys that inherit.
    pub default: Option<String>,
    /// When a change takes effect.
    pub effect: Effect,
    /// Whether this version honours it.
    pub available: Available,
}

/// The manual's view of a table of rows.
pub(crate) fn manual<T: Default>(rows: &'static [Key<T>]) -> Vec<Setting> {
    let defaults = T::default();
    let setting = |row: &Key<T>| Setting {
        name: row.name,
        help: row.help_lines().collect::<Vec<_>>().join("\n"),
        expected: row.expected,
        default: (row.toml)(&defaults),
        effect: row.rule.effect,
        available: row.rule.available,
    };
    rows.iter().map(setting).collect()
}
