//! How the text of one key becomes a value: Kafka Connect's types, and the Rust types that read
//! them.
//!
//! Reading takes two steps. [`FieldType::normalize`] applies the declared type, with the rules and
//! the words of the JVM (trimming, number syntax, comma lists). [`ConfigValue::parse_value`] then
//! makes the Rust value of the normalized text and may narrow what is allowed.

use std::fmt;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use zeroize::Zeroize;

use super::secret::Secret;

/// The type of a key, as Kafka Connect names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FieldType {
    /// `true` or `false` in any case.
    Boolean,
    /// Text, trimmed.
    String,
    /// A whole number of 32 bits, signed.
    Int,
    /// A whole number of 16 bits, signed.
    Short,
    /// A whole number of 64 bits, signed.
    Long,
    /// A floating-point number.
    Double,
    /// Texts separated by commas.
    List,
    /// The name of a plug-in.
    Class,
    /// Text which is never shown.
    Password,
}

impl FieldType {
    /// The name in Kafka Connect's answers.
    pub fn name(self) -> &'static str {
        match self {
            Self::Boolean => "BOOLEAN",
            Self::String => "STRING",
            Self::Int => "INT",
            Self::Short => "SHORT",
            Self::Long => "LONG",
            Self::Double => "DOUBLE",
            Self::List => "LIST",
            Self::Class => "CLASS",
            Self::Password => "PASSWORD",
        }
    }

    /// Applies the type to `text`: trims it as Java does and gives it the form in which Connect
    /// repeats it (`" TRUE "` → `true`, `+007` → `7`, `a , b` → `a,b`). The error is the reason in
    /// Connect's words.
    ///
    /// Java's hexadecimal floating-point numbers are refused.
    pub fn normalize(self, text: &str) -> Result<String, String> {
        let text = java_trim(text);
        let not_a_number = || format!("Not a number of type {self}");
        match self {
            Self::Boolean if text.eq_ignore_ascii_case("true") => Ok("true".to_owned()),
            Self::Boolean if text.eq_ignore_ascii_case("false") => Ok("false".to_owned()),
            Self::Boolean => Err("Expected value to be either true or false".to_owned()),
            Self::Short => text.parse::<i16>().map(|n| n.to_string()).map_err(|_| not_a_number()),
            Self::Int => text.parse::<i32>().map(|n| n.to_string()).map_err(|_| not_a_number()),
            Self::Long => text.parse::<i64>().map(|n| n.to_string()).map_err(|_| not_a_number()),
            Self::Double => read_double(text).map(java_double).ok_or_else(not_a_number),
            Self::List => Ok(split_list(text).collect::<Vec<_>>().join(",")),
            Self::String | Self::Class | Self::Password => Ok(text.to_owned()),
        }
    }
}

impl fmt::Display for FieldType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// One of the values that a key may take, see [`ConfigValue::allowed`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Choice {
    /// How it is written in a configuration.
    pub name: &'static str,
    /// What it means, in Markdown; may be empty.
    pub documentation: &'static str,
}

/// A type that a configuration field can have.
///
/// `Option<T>` is understood by the derive: a key which may be absent. Enums get this trait by
/// `#[derive(ConfigEnum)]`; implement it by hand for types of your own:
///
/// ```
/// use towpath_sdk::config::{ConfigValue, FieldType};
///
/// struct Port(u16);
///
/// impl ConfigValue for Port {
///     const KIND: FieldType = FieldType::Int;
///
///     fn parse_value(text: &str) -> Result<Self, String> {
///         match u16::parse_value(text)? {
///             0 => Err("Value must be at least 1".to_owned()),
///             port => Ok(Self(port)),
///         }
///     }
/// }
/// assert_eq!(Port::parse_value("443").unwrap().0, 443);
/// assert!(Port::parse_value("0").is_err());
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` can't be the type of a configuration field",
    note = "derive `ConfigEnum` for an enum, implement `ConfigValue` for another type of yours"
)]
pub trait ConfigValue: Sized {
    /// The type of the key.
    const KIND: FieldType;

    /// What the key must end in because the type has a unit (`.ms` for a duration).
    const KEY_SUFFIX: Option<&'static str> = None;

    /// Makes the value of `text`, which has passed [`FieldType::normalize`] when it comes from a
    /// configuration. The error is the reason in Connect's words, without key and value: where the
    /// value is a secret, the reason must not repeat it.
    fn parse_value(text: &str) -> Result<Self, String>;

    /// The values that are allowed, if they can be listed.
    fn allowed() -> Option<&'static [Choice]> {
        None
    }

    /// What is allowed, in the notation of Connect's validators (`[1,...,10]`, `[none, all]`).
    fn valid_values() -> Option<String> {
        None
    }
}

/// An enum whose variants are the values of a key. Derive it.
///
/// ```
/// use towpath_sdk::config::{ConfigEnum, ConfigValue};
///
/// #[derive(Debug, PartialEq, ConfigEnum)]
/// enum Tolerance {
///     /// An error stops the task.
///     None,
///     /// Records in error are skipped.
///     #[config(name = "all", alias("any"))]
///     SkipAll,
/// }
///
/// assert_eq!(Tolerance::parse_value("any"), Ok(Tolerance::SkipAll));
/// assert_eq!(Tolerance::SkipAll.to_string(), "all");
/// assert_eq!(
///     Tolerance::parse_value("some").unwrap_err(),
///     "String must be one of: none, all"
/// );
/// ```
pub trait ConfigEnum: Sized {
    /// All variants, by their names.
    const CHOICES: &'static [Choice];

    /// Whether upper and lower case are the same.
    const IGNORE_CASE: bool;

    /// The variant that is written so.
    fn from_name(name: &str) -> Option<Self>;

    /// How the variant is written.
    fn name(&self) -> &'static str;
}

/// A number that `range(…)` can bound.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a number or duration, so it has no `range`"
)]
pub trait Ranged: ConfigValue {
    /// What it is compared as. `Debug` is how Connect shows it.
    type Bound: Copy + PartialOrd + fmt::Debug;

    /// The number in normalized text; durations count in their unit.
    fn bound(text: &str) -> Option<Self::Bound>;
}

impl ConfigValue for bool {
    const KIND: FieldType = FieldType::Boolean;

    fn parse_value(text: &str) -> Result<Self, String> {
        Ok(Self::KIND.normalize(text)? == "true")
    }
}

impl ConfigValue for String {
    const KIND: FieldType = FieldType::String;

    fn parse_value(text: &str) -> Result<Self, String> {
        Ok(java_trim(text).to_owned())
    }
}

impl ConfigValue for Vec<String> {
    const KIND: FieldType = FieldType::List;

    fn parse_value(text: &str) -> Result<Self, String> {
        Ok(split_list(text).map(str::to_owned).collect())
    }
}

/// The elements must be among the choices; an empty list has none.
impl<T: ConfigEnum> ConfigValue for Vec<T> {
    const KIND: FieldType = FieldType::List;

    fn parse_value(text: &str) -> Result<Self, String> {
        split_list(text).map(super::reader::choose).collect()
    }

    fn allowed() -> Option<&'static [Choice]> {
        Some(T::CHOICES)
    }

    fn valid_values() -> Option<String> {
        Some(super::reader::choices_text::<T>())
    }
}

impl ConfigValue for PathBuf {
    const KIND: FieldType = FieldType::String;

    fn parse_value(text: &str) -> Result<Self, String> {
        Ok(Self::from(java_trim(text)))
    }
}

impl<T: ConfigValue + Zeroize> ConfigValue for Secret<T> {
    const KIND: FieldType = FieldType::Password;

    fn parse_value(text: &str) -> Result<Self, String> {
        T::parse_value(text).map(Self::new)
    }
}

/// Whole numbers: `min` and `max` are what the Rust type allows beyond the declared one.
macro_rules! whole_numbers {
    ($($type:ty: $kind:ident $(, min $min:literal)? $(, max $max:literal)?;)*) => {$(
        impl ConfigValue for $type {
            const KIND: FieldType = FieldType::$kind;

            fn parse_value(text: &str) -> Result<Self, String> {
                let text = Self::KIND.normalize(text)?;
                $(if Self::bound(&text).is_some_and(|n| n < $min) {
                    return Err(format!("Value must be at least {}", $min));
                })?
                $(if Self::bound(&text).is_some_and(|n| n > $max) {
                    return Err(format!("Value must be no more than {}", $max));
                })?
                text.parse().map_err(|_| format!("Not a number of type {}", Self::KIND))
            }

            fn valid_values() -> Option<String> {
                let min: Option<i128> = None $(.or(Some($min)))?;
                let max: Option<i128> = None $(.or(Some($max)))?;
                show_range(min, max)
            }
        }

        impl Ranged for $type {
            type Bound = i128;

            fn bound(text: &str) -> Option<i128> {
                text.parse().ok()
            }
        }
    )*};
}

whole_numbers! {
    i16: Short;
    i32: Int;
    i64: Long;
    u16: Int, min 0, max 65535;
    u32: Int, min 0;
    u64: Long, min 0;
    NonZeroU32: Int, min 1;
}

impl ConfigValue for f64 {
    const KIND: FieldType = FieldType::Double;

    fn parse_value(text: &str) -> Result<Self, String> {
        let number = read_double(java_trim(text)).ok_or("Not a number of type DOUBLE")?;
        if number.is_finite() { Ok(number) } else { Err("Value must be finite".to_owned()) }
    }
}

impl Ranged for f64 {
    type Bound = f64;

    fn bound(text: &str) -> Option<f64> {
        read_double(text)
    }
}

/// A whole number of milliseconds, at least 0.
impl ConfigValue for Duration {
    const KIND: FieldType = FieldType::Long;
    const KEY_SUFFIX: Option<&'static str> = Some(".ms");

    fn parse_value(text: &str) -> Result<Self, String> {
        u64::parse_value(text).map(Self::from_millis)
    }

    fn valid_values() -> Option<String> {
        u64::valid_values()
    }
}

impl Ranged for Duration {
    type Bound = i128;

    fn bound(text: &str) -> Option<i128> {
        u64::bound(text)
    }
}

/// A range in the notation of Connect's validators.
pub(super) fn show_range<B: fmt::Debug>(min: Option<B>, max: Option<B>) -> Option<String> {
    match (min, max) {
        (Some(min), Some(max)) => Some(format!("[{min:?},...,{max:?}]")),
        (Some(min), None) => Some(format!("[{min:?},...]")),
        (None, Some(max)) => Some(format!("[...,{max:?}]")),
        (None, None) => None,
    }
}

/// Java's `String.trim`: everything up to and including the space goes, control characters too,
/// while Unicode's other white space stays.
pub(super) fn java_trim(text: &str) -> &str {
    text.trim_matches(|c| c <= ' ')
}

/// The elements of a comma list. Empty text has none; otherwise empty elements count.
pub(super) fn split_list(text: &str) -> impl Iterator<Item = &str> {
    let text = java_trim(text);
    let space = |c| matches!(c, ' ' | '\t' | '\n' | '\x0b' | '\x0c' | '\r');
    (!text.is_empty())
        .then_some(text)
        .into_iter()
        .flat_map(move |text| text.split(',').map(move |element| element.trim_matches(space)))
}

/// Java's syntax of decimal floating-point numbers, with its optional type suffix.
fn read_double(text: &str) -> Option<f64> {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    if unsigned == "NaN" || unsigned == "Infinity" {
        return text.parse().ok();
    }
    let number = text.strip_suffix(['d', 'D', 'f', 'F']).unwrap_or(text);
    let syntax = |c: char| c.is_ascii_digit() || matches!(c, '.' | 'e' | 'E' | '+' | '-');
    number.chars().all(syntax).then(|| number.parse().ok()).flatten()
}

/// Java's `Double.toString`, digit for digit but for the rare numbers where it prints more digits
/// than are needed.
pub(super) fn java_double(number: f64) -> String {
    let size = number.abs();
    if number.is_nan() {
        "NaN".to_owned()
    } else if number.is_infinite() {
        if number > 0.0 { "Infinity".to_owned() } else { "-Infinity".to_owned() }
    } else if number == 0.0 || (1e-3..1e7).contains(&size) {
        format!("{number:?}")
    } else {
        let text = format!("{number:E}");
        match text.split_once('E') {
            Some((digits, exponent)) if !digits.contains('.') => format!("{digits}.0E{exponent}"),
            _ => text,
        }
    }
}
