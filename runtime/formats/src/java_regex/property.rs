//! `\p{…}`: Java's names of character properties.

use super::translate::Flags;

pub(super) enum Found {
    /// The inside of a class for the engine.
    Class(String),
    /// Java knows it, the engine has nothing like it.
    Unsupported,
    /// Java doesn't know it.
    Unknown,
}

/// POSIX names: ASCII, and what they are with the flag `U`.
const POSIX: &[(&str, &str, &str)] = &[
    ("ASCII", r"\x{0}-\x{7F}", r"\x{0}-\x{7F}"),
    ("Alnum", "0-9A-Za-z", r"\p{Alphabetic}\p{Nd}"),
    ("Alpha", "A-Za-z", r"\p{Alphabetic}"),
    ("Blank", r"\x{20}\t", r"\p{Zs}\t"),
    ("Cntrl", r"\x{0}-\x{1F}\x{7F}", r"\p{Cc}"),
    ("Digit", "0-9", r"\p{Nd}"),
    ("Graph", r"\x{21}-\x{7E}", r"^\p{White_Space}\p{Cc}\p{Cn}"),
    ("Lower", "a-z", r"\p{Lowercase}"),
    ("Print", r"\x{20}-\x{7E}", r"[^\p{White_Space}\p{Cc}\p{Cn}]\p{Zs}"),
    ("Punct", r"\x{21}-\x{2F}\x{3A}-\x{40}\x{5B}-\x{60}\x{7B}-\x{7E}", r"\p{P}"),
    ("Space", r"\t\n\x{B}\x{C}\r\x{20}", r"\p{White_Space}"),
    ("Upper", "A-Z", r"\p{Uppercase}"),
    ("XDigit", "0-9A-Fa-f", r"\p{Nd}\p{Hex_Digit}"),
];

/// Methods of `java.lang.Character` that the engine can express.
const METHODS: &[(&str, &str)] = &[
    ("javaAlphabetic", r"\p{Alphabetic}"),
    ("javaDefined", r"^\p{Cn}"),
    ("javaDigit", r"\p{Nd}"),
    ("javaISOControl", r"\p{Cc}"),
    ("javaIdeographic", r"\p{Ideographic}"),
    ("javaLetter", r"\p{L}"),
    ("javaLetterOrDigit", r"\p{L}\p{Nd}"),
    ("javaLowerCase", r"\p{Lowercase}"),
    ("javaSpaceChar", r"\p{Z}"),
    ("javaTitleCase", r"\p{Lt}"),
    ("javaUpperCase", r"\p{Uppercase}"),
    ("javaWhitespace", r"\t\n\x{B}\x{C}\r\x{1C}-\x{1F}[\p{Z}&&[^\x{A0}\x{2007}\x{202F}]]"),
];
/// Methods that it can't.
const OTHER_METHODS: &[&str] = &[
    "javaIdentifierIgnorable",
    "javaJavaIdentifierPart",
    "javaJavaIdentifierStart",
    "javaMirrored",
    "javaUnicodeIdentifierPart",
    "javaUnicodeIdentifierStart",
];

/// General categories, single letters and Java's own.
const CATEGORIES: &[&str] = &[
    "Cn", "Lu", "Ll", "Lt", "Lm", "Lo", "Mn", "Me", "Mc", "Nd", "Nl", "No", "Zs", "Zl", "Zp", "Cc",
    "Cf", "Co", "Pd", "Ps", "Pe", "Pc", "Po", "Sm", "Sc", "Sk", "So", "Pi", "Pf", "L", "M", "N",
    "Z", "C", "P", "S",
];

/// Binary properties, after `Is`, in capitals.
const BINARY: &[(&str, &str)] = &[
    ("ALPHABETIC", r"\p{Alphabetic}"),
    ("ASSIGNED", r"^\p{Cn}"),
    ("CONTROL", r"\p{Cc}"),
    ("DIGIT", r"\p{Nd}"),
    ("HEXDIGIT", r"\p{Nd}\p{Hex_Digit}"),
    ("HEX_DIGIT", r"\p{Nd}\p{Hex_Digit}"),
    ("IDEOGRAPHIC", r"\p{Ideographic}"),
    ("JOINCONTROL", r"\x{200C}\x{200D}"),
    ("JOIN_CONTROL", r"\x{200C}\x{200D}"),
    ("LETTER", r"\p{L}"),
    ("LOWERCASE", r"\p{Lowercase}"),
    ("NONCHARACTERCODEPOINT", r"\p{Noncharacter_Code_Point}"),
    ("NONCHARACTER_CODE_POINT", r"\p{Noncharacter_Code_Point}"),
    ("PUNCTUATION", r"\p{P}"),
    ("TITLECASE", r"\p{Lt}"),
    ("UPPERCASE", r"\p{Uppercase}"),
    ("WHITESPACE", r"\p{White_Space}"),
    ("WHITE_SPACE", r"\p{White_Space}"),
];

/// Letters of any case: what a property of one case means where case is ignored.
const ANY_CASE: &str = r"\p{Lowercase}\p{Uppercase}\p{Lt}";
const CASED: [&str; 6] =
    ["LOWERCASE", "UPPERCASE", "TITLECASE", "javaLowerCase", "javaUpperCase", "javaTitleCase"];

pub(super) fn class(name: &str, flags: Flags) -> Found {
    if let Some((kind, value)) = name.split_once('=') {
        return match kind.to_ascii_lowercase().as_str() {
            "sc" | "script" => script(value),
            "gc" | "general_category" => category(value, flags).unwrap_or(Found::Unknown),
            "blk" | "block" => Found::Unsupported,
            _ => Found::Unknown,
        };
    }
    if name.len() > 2 && name.starts_with("In") {
        return Found::Unsupported;
    }
    if let Some(name) = name.strip_prefix("Is") {
        return binary(name, flags)
            .or_else(|| category(name, flags))
            .unwrap_or_else(|| script(name));
    }
    posix(name, flags)
        .or_else(|| method(name, flags))
        .or_else(|| category(name, flags))
        .unwrap_or(Found::Unknown)
}

fn find(table: &[(&str, &str)], name: &str) -> Option<String> {
    table.iter().find(|(known, _)| *known == name).map(|(_, class)| (*class).to_owned())
}

/// As a whole, so that a leading `^` means what it says.
fn found(class: &str) -> Found {
    Found::Class(if class.starts_with('^') { format!("[{class}]") } else { class.to_owned() })
}

fn posix(name: &str, flags: Flags) -> Option<Found> {
    let (_, ascii, unicode) = POSIX.iter().find(|(known, _, _)| *known == name)?;
    let cased = flags.case_insensitive && matches!(name, "Lower" | "Upper");
    Some(match (flags.unicode_class, cased) {
        (true, true) => found(ANY_CASE),
        (true, false) => found(unicode),
        (false, true) => found("A-Za-z"),
        (false, false) => found(ascii),
    })
}

fn method(name: &str, flags: Flags) -> Option<Found> {
    if flags.case_insensitive && CASED.contains(&name) {
        return Some(found(ANY_CASE));
    }
    let unsupported = || OTHER_METHODS.contains(&name).then_some(Found::Unsupported);
    find(METHODS, name).map(|class| found(&class)).or_else(unsupported)
}

fn binary(name: &str, flags: Flags) -> Option<Found> {
    let name = name.to_ascii_uppercase();
    if flags.case_insensitive && CASED.contains(&name.as_str()) {
        return Some(found(ANY_CASE));
    }
    find(BINARY, &name).map(|class| found(&class))
}

fn category(name: &str, flags: Flags) -> Option<Found> {
    let class = match name {
        "LC" => r"\p{Lu}\p{Ll}\p{Lt}".to_owned(),
        "LD" => r"\p{L}\p{Nd}".to_owned(),
        "L1" => r"\x{0}-\x{FF}".to_owned(),
        "all" => r"\x{0}-\x{10FFFF}".to_owned(),
        // Surrogates: no text here holds one.
        "Cs" => r"[a&&b]".to_owned(),
        "Lu" | "Ll" | "Lt" if flags.case_insensitive => r"\p{Lu}\p{Ll}\p{Lt}".to_owned(),
        name if CATEGORIES.contains(&name) => format!(r"\p{{{name}}}"),
        _ => return None,
    };
    Some(Found::Class(class))
}

/// Scripts have the same names in the engine, which knows which there are.
fn script(name: &str) -> Found {
    let plain = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    let class = format!(r"\p{{Script={name}}}");
    if plain && fancy_regex::Regex::new(&class).is_ok() {
        Found::Class(class)
    } else {
        Found::Unknown
    }
}
