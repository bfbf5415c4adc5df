//! Derives connector configuration from a struct.
//!
//! `#[derive(ConnectorConfig)]` reads the attributes (`attributes`) and the doc comments (`docs`)
//! of a struct and writes an implementation of `towpath_sdk::config::ConnectorConfig` (`config`).
//! What is generated is thin: it names fields, and the reader in the SDK does the work.
//!
//! Mistakes are reported all at once, each at its place.

mod attributes;
mod config;
mod docs;

use proc_macro::TokenStream;
use syn::{DeriveInput, parse_macro_input};

/// Makes a struct a connector configuration.
///
/// Every field needs a doc comment, which becomes its documentation: meaning, unit, why this
/// default. A field whose type is `Option<T>` may be absent; any other one is required unless it
/// has a default.
///
/// Attributes of a field, as in `#[config(key = "server.port", default = 5432)]`:
///
/// | attribute | meaning |
/// |---|---|
/// | `key = "…"` | the key; if absent, the field's name with dots for underscores |
/// | `default = …` | the default: text, or anything that displays as it |
/// | `importance = high` | `high`, `medium` (if absent) or `low` |
/// | `range(min = …, max = …)` | bounds of a number or duration, both inclusive, one may be absent |
#[proc_macro_derive(ConnectorConfig, attributes(config))]
pub fn derive_connector_config(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    config::expand(&input).unwrap_or_else(syn::Error::into_compile_error).into()
}
