//! What is done to columns beyond their types: keys, masks, names, descriptions.

use std::sync::Arc;

use towpath_sdk::config::{
    ConfigEnum, ConfigValue, ConnectorConfig, FieldError, FieldType, Properties,
};

use super::patterns::Patterns;
use crate::mask::{Algorithm, Hash, Mask};
use crate::types::Placeholder;

/// What is done to columns.
#[derive(Debug, Clone, ConnectorConfig)]
#[config(group = "Columns", validate = Columns::check)]
pub struct Columns {
    /// Columns that make the keys of records: `table:column,column`, separated by semicolons, with
    /// regular expressions for `schema.table` and for columns. A table that is not named has its
    /// primary key. Under a replica identity that lacks such a column, the keys of deletes lack it too.
    #[config(none = "")]
    pub message_key_columns: Option<KeyColumns>,
    /// Whether an update is left out if no column that is shown has changed. It takes REPLICA IDENTITY
    /// FULL to tell.
    #[config(default = false)]
    pub skip_messages_without_change: bool,
    /// What is shown in place of a large value that an update left alone and the server did not send:
    /// text, or bytes in hexadecimal after `hex:`. As long as this is Debezium's text, such values go on
    /// as unchanged ones, of which the converter makes that text and a sink leaves its column alone;
    /// another text is just a value.
    #[config(default = DEFAULT_PLACEHOLDER)]
    pub unavailable_value_placeholder: Unavailable,
    /// `column.truncate.to.N.chars`: columns whose texts are cut to N characters, as regular expressions
    /// for `schema.table.column`. Of several keys for one column the strictest counts: a mask, then a
    /// hash, then this.
    #[config(prefix = "column.truncate.to.")]
    pub truncate: Properties,
    /// `column.mask.with.N.chars`: columns of text whose values, NULL among them, are shown as N
    /// asterisks. Records' keys show them as they are, as Debezium's do.
    #[config(prefix = "column.mask.with.")]
    pub mask_with: Properties,
    /// `column.mask.hash.ALGORITHM.with.salt.SALT`: columns of text that are shown as a hash in
    /// hexadecimal, cut to the column's length; NULL stays. ALGORITHM is MD5, SHA-1, SHA-224, SHA-256,
    /// SHA-384, SHA-512, SHA-512/224 or SHA-512/256. With `hash.v2.` only the value is hashed; without,
    /// Java's serialised form of it, as older versions of Debezium do.
    #[config(prefix = "column.mask.hash.")]
    pub mask_hash: Properties,
    /// Columns whose type is described in the schema's parameters, as regular expressions for
    /// `schema.table.column`.
    pub column_propagate_source_type: Option<Patterns>,
    /// Types whose columns are described, as regular expressions for `schema.table.type`.
    pub datatype_propagate_source_type: Option<Patterns>,
    /// How names of schemas are adjusted.
    #[config(default = "none")]
    pub schema_name_adjustment_mode: Adjustment,
    /// How names of columns are adjusted.
    #[config(default = "none")]
    pub field_name_adjustment_mode: Adjustment,
}

const DEFAULT_PLACEHOLDER: &str = "__debezium_unavailable_value";

/// How names are adjusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ConfigEnum)]
#[config(ignore_case)]
pub enum Adjustment {
    /// They stay.
    None,
    /// What Avro does not allow becomes `_`.
    Avro,
    /// What Avro does not allow, and `_`, becomes `_u` and its code.
    AvroUnicode,
}

/// `unavailable.value.placeholder`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unavailable {
    /// What is shown.
    pub placeholder: Placeholder,
    /// Whether it is Debezium's, for which [`towpath_sdk::value::Value::Unchanged`] stands.
    pub is_default: bool,
}

impl ConfigValue for Unavailable {
    const KIND: FieldType = FieldType::String;

    fn parse_value(text: &str) -> Result<Self, String> {
        let placeholder = Placeholder::parse(text).map_err(|error| error.to_string())?;
        Ok(Self { placeholder, is_default: text == DEFAULT_PLACEHOLDER })
    }
}

/// `message.key.columns`.
#[derive(Debug, Clone)]
pub struct KeyColumns(Arc<[Patterns]>);

impl KeyColumns {
    /// The columns of a table's key, in the order of the configuration; empty if the table is not named.
    pub(crate) fn of<'c>(
        &self,
        schema: &str,
        table: &str,
        columns: impl Iterator<Item = &'c Arc<str>> + Clone,
    ) -> Vec<Arc<str>> {
        let mut key: Vec<Arc<str>> = Vec::new();
        for patterns in self.0.iter() {
            for column in columns.clone() {
                if !key.contains(column) && patterns.matches(&format!("{schema}.{table}.{column}"))
                {
                    key.push(Arc::clone(column));
                }
            }
        }
        key
    }
}

impl ConfigValue for KeyColumns {
    const KIND: FieldType = FieldType::String;

    fn parse_value(text: &str) -> Result<Self, String> {
        let mut all = Vec::new();
        for entry in text.split(';').map(str::trim).filter(|entry| !entry.is_empty()) {
            let parts = entry.split_once(':').filter(|(table, columns)| {
                let is_part = |part: &str| !part.is_empty() && !part.contains(char::is_whitespace);
                is_part(table) && is_part(columns) && !columns.contains(':')
            });
            let Some((table, columns)) = parts else {
                return Err(format!("'{entry}' is not of the form table:column,column"));
            };
            for column in columns.split(',').filter(|column| !column.is_empty()) {
                all.push(Patterns::of(&format!("(?:{table})\\.(?:{column})"))?);
            }
        }
        Ok(Self(all.into()))
    }
}

/// Columns, and what is done to them.
pub(crate) type Masks = Vec<(Patterns, Mask)>;

impl Columns {
    /// The masks, the strictest first.
    ///
    /// # Errors
    /// What is wrong with the keys.
    pub(crate) fn masks(&self) -> Result<Masks, Vec<FieldError>> {
        let (mut masks, mut errors) = (Masks::new(), Vec::new());
        let mut add = |key: String, value: &str, mask: Result<Mask, String>| {
            let made = mask.and_then(|mask| Ok((Patterns::parse_value(value)?, mask)));
            match made {
                Ok(made) => masks.push(made),
                Err(reason) => errors.push(FieldError::invalid(key, Some(value), reason)),
            }
        };
        for (rest, value) in self.mask_with.iter() {
            let mask = chars(rest).map(|n| Mask::With("*".repeat(n).into()));
            add(format!("column.mask.with.{rest}"), value, mask);
        }
        for (rest, value) in self.mask_hash.iter() {
            add(format!("column.mask.hash.{rest}"), value, hash(rest));
        }
        for (rest, value) in self.truncate.iter() {
            let mask = match chars(rest) {
                Ok(0) => Err("the number of characters must be positive".to_owned()),
                other => other.map(Mask::Truncate),
            };
            add(format!("column.truncate.to.{rest}"), value, mask);
        }
        if errors.is_empty() { Ok(masks) } else { Err(errors) }
    }

    fn check(&self) -> Vec<FieldError> {
        self.masks().err().unwrap_or_default()
    }
}

/// The longest mask and the longest cut: PostgreSQL's limit on a value.
const MAX_CHARS: usize = 1 << 30;

fn chars(rest: &str) -> Result<usize, String> {
    let number = rest.strip_suffix(".chars").and_then(|number| number.parse().ok());
    number.filter(|n| *n <= MAX_CHARS).ok_or_else(|| {
        format!("'{rest}' is not of the form N.chars with a whole number N up to {MAX_CHARS}")
    })
}

fn hash(rest: &str) -> Result<Mask, String> {
    let (rest, is_plain) = match rest.strip_prefix("v2.") {
        Some(rest) => (rest, true),
        None => (rest, false),
    };
    let (algorithm, salt) = rest
        .split_once(".with.salt.")
        .filter(|(algorithm, salt)| !algorithm.contains('.') && !salt.is_empty())
        .ok_or("the key is not of the form column.mask.hash.ALGORITHM.with.salt.SALT")?;
    let algorithm = Algorithm::from_name(algorithm).ok_or_else(|| {
        format!("the algorithm {algorithm} is not known; there are {}", Algorithm::names())
    })?;
    Ok(Mask::Hash(Hash { algorithm, salt: salt.into(), is_plain, length: None }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn columns(entries: &[(&str, &str)]) -> Result<Columns, String> {
        let properties: Properties = entries.iter().copied().collect();
        Columns::parse(&properties).map_err(|errors| errors.to_string())
    }

    #[test]
    fn keys_come_in_the_order_of_the_configuration() {
        let key = KeyColumns::parse_value(r"(a|b)\.t:c2,c1; s.u:x").unwrap();
        let names = ["c1", "C2", "x"].map(Arc::<str>::from);
        let of = |schema, table| key.of(schema, table, names.iter()).join(" ");
        assert_eq!(of("a", "t"), "C2 c1");
        assert_eq!(of("b", "t"), "C2 c1");
        assert_eq!(of("s", "u"), "x");
        assert_eq!(of("c", "t"), "");
        for wrong in ["t", "t:", ":c", "t:a:b", "t: a", "a(:b"] {
            assert!(KeyColumns::parse_value(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_strictest_mask_comes_first() {
        let columns = columns(&[
            ("column.truncate.to.5.chars", "s.t.a"),
            ("column.mask.hash.SHA-256.with.salt.a.b", "s.t.b"),
            ("column.mask.hash.v2.sha-512/256.with.salt.x", "s.t.c"),
            ("column.mask.with.0.chars", "s.t.d,s.t.e"),
        ]);
        let masks = columns.unwrap().masks().unwrap();
        let shown: Vec<String> = masks.iter().map(|(_, mask)| format!("{mask:?}")).collect();
        assert!(shown[0].starts_with("With"), "{shown:?}");
        assert!(shown[1].contains("Sha256") && shown[1].contains("a.b"), "{shown:?}");
        assert!(
            shown[2].contains("Sha512_256") && shown[2].contains("is_plain: true"),
            "{shown:?}"
        );
        assert!(shown[3].contains("Truncate(5)") && masks[0].0.matches("s.t.e"), "{shown:?}");
    }

    #[test]
    fn wrong_masks_are_named() {
        for key in [
            "column.truncate.to.0.chars",
            "column.truncate.to.x.chars",
            "column.mask.with.5",
            "column.mask.with.-1.chars",
            "column.mask.hash.SHA-256.with.salt.",
            "column.mask.hash.SHA-256",
            "column.mask.hash.ROT13.with.salt.x",
        ] {
            let error = columns(&[(key, "s.t.a")]).unwrap_err();
            assert!(error.contains(key), "{error}");
        }
        assert!(columns(&[("column.mask.with.5.chars", "a(")]).unwrap_err().contains("'a('"));
        let hex = columns(&[("unavailable.value.placeholder", "hex:0")]).unwrap_err();
        assert!(hex.contains("hexadecimal"), "{hex}");
    }
}
