//! Transforms: records changed one by one.

mod extract_field;
mod field_path;

use towpath_sdk::plugin::Registry;

pub use extract_field::{ExtractField, ExtractFieldConfig, Of};
pub use field_path::FieldSyntax;

pub(crate) fn register(registry: &mut Registry) {
    extract_field::register(registry);
}
