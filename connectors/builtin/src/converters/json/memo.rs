//! What was written before, on each thread.
//!
//! Duty: keep the names of structs' fields with what stands around them, and the text of the last struct
//! that many records share. A miss costs what it would cost without this.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use bytes::BytesMut;
use towpath_sdk::schema::SchemaRef;
use towpath_sdk::value::Struct;

use super::{DecimalFormat, JsonConverterConfig};

/// Schemas whose names are kept.
const SCHEMAS: usize = 16;

/// Before each value of a struct: `{"a":`, then `,"b":`.
pub(super) type Names = Rc<[Box<str>]>;

thread_local! {
    static NAMES: RefCell<[Option<(SchemaRef, Names)>; SCHEMAS]> =
        const { RefCell::new([const { None }; SCHEMAS]) };
    static SHARED: RefCell<Option<Shared>> = const { RefCell::new(None) };
}

/// The text of a struct that is shared.
struct Shared {
    of: Struct,
    style: Style,
    text: Box<[u8]>,
}

/// What two configurations may write differently.
type Style = (DecimalFormat, bool);

fn style(config: &JsonConverterConfig) -> Style {
    (config.decimal_format, config.replace_null_with_default)
}

/// The names of `schema`'s fields, as `make` writes them if they are not known.
pub(super) fn names(schema: &SchemaRef, make: impl Fn(&str) -> String) -> Names {
    // Schemas are larger than a line of the cache.
    let place = (Arc::as_ptr(schema) as usize >> 6) % SCHEMAS;
    NAMES.with_borrow_mut(|known| match &mut known[place] {
        Some((of, names)) if Arc::ptr_eq(of, schema) => Rc::clone(names),
        known => {
            let fields = schema.fields().iter().enumerate();
            let names: Names = fields
                .map(|(at, field)| {
                    let before = if at == 0 { '{' } else { ',' };
                    format!("{before}\"{}\":", make(&field.name)).into()
                })
                .collect();
            *known = Some((Arc::clone(schema), Rc::clone(&names)));
            names
        }
    })
}

/// Appends the text of a struct that is shared, if it is the one that was written last.
pub(super) fn recall(of: &Struct, config: &JsonConverterConfig, out: &mut BytesMut) -> bool {
    SHARED.with_borrow(|known| match known {
        Some(known) if known.of.is_same(of) && known.style == style(config) => {
            out.extend_from_slice(&known.text);
            true
        }
        _ => false,
    })
}

/// Keeps the text of a struct that is shared.
pub(super) fn keep(of: &Struct, config: &JsonConverterConfig, text: &[u8]) {
    let shared = Shared { of: of.clone(), style: style(config), text: text.into() };
    SHARED.set(Some(shared));
}
