//! Derives connector configuration from a struct.
//!
//! `#[derive(ConnectorConfig)]` reads the attributes (`attributes`) and the doc comments (`docs`)
//! of a struct and writes an implementation of `towpath_sdk::config::ConnectorConfig` (`config`).
//! `#[derive(ConfigEnum)]` does the same for an enum that is a field's type (`choices`).
//! What is generated is thin: it names fields, and the reader in the SDK does the work.
//!
//! Mistakes are reported all at once, each at its place. Deliberately absent: generic parameters,
//! and defaults which depend on other fields.

mod attributes;
mod choices;
mod config;
mod docs;
mod errors;

use proc_macro::TokenStream;
use syn::{DeriveInput, parse_macro_input};

/// Makes a struct a connector configuration.
///
/// Every field needs a doc comment, which becomes its documentation: meaning, unit, why this
/// default. A field of type `Option<T>` may be absent; any other is required unless it has a
/// default.
///
/// What `#[config(…)]` says of a field:
///
/// | attribute | meaning |
/// |---|---|
/// | `key = "…"` | the key; if not given, the field's name with dots for underscores |
/// | `default = …` | the default: text, or an expression that displays as it |
/// | `none = "…"` | the text that means an absent `Option`, which may then have a default |
/// | `importance = …` | `high`, `medium` (if not given) or `low` |
/// | `group = "…"` | the group of the form; if not given, the struct's |
/// | `order = …` | the place in the group; if not given, the position among the group's fields |
/// | `width = …` | of the form's input: `none` (if not given), `short`, `medium` or `long` |
/// | `display = "…"` | the name in the form; if not given, the key |
/// | `dependents("…", …)` | keys that only matter depending on this one |
/// | `recommended(…, …)` | values to offer; others are allowed |
/// | `range(min = …, max = …)` | bounds of a number or duration, inclusive; one may be left out |
/// | `one_of("…", …)` | the only values of a text, or of a list's elements |
/// | `non_empty` | the text is not empty; the list has an element, and none is empty |
/// | `validate = path` | a further check, `fn(&T) -> Result<(), String>`; not called for an absent `Option` |
/// | `alias("…", …)` | former names of the key, which still work |
/// | `deprecated = "use …"` | the key is outdated, and what to do instead |
/// | `class` | the text is the name of a plug-in |
/// | `unit = "ms"` | this key of a duration is somebody else's and need not end in `.ms` |
/// | `prefix = "….", secret` | a field of type `Properties` takes all keys that begin so; `secret` hides their values |
/// | `nested` | the keys of another configuration are keys of this one; with `prefix = "…."`, under a prefix |
///
/// Of the struct: `group = "…"` for fields that name none, and `validate = path`, a check of
/// the fields together, `fn(&Self) -> Vec<FieldError>`, which is called once every field is right.
#[proc_macro_derive(ConnectorConfig, attributes(config))]
pub fn derive_connector_config(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    config::expand(&input).unwrap_or_else(syn::Error::into_compile_error).into()
}

/// Makes an enum without fields the type of a configuration field.
///
/// A variant is written as its name in snake case, or as `#[config(name = "…")]` says;
/// `#[config(alias("…", …))]` adds spellings that are understood. Its doc comment explains it in
/// the reference. `#[config(ignore_case)]` on the enum makes upper and lower case the same.
///
/// The enum also gets `Display`, which writes that name.
#[proc_macro_derive(ConfigEnum, attributes(config))]
pub fn derive_config_enum(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    choices::expand(&input).unwrap_or_else(syn::Error::into_compile_error).into()
}
