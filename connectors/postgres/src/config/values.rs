//! How columns' values are shown.

use towpath_sdk::config::ConnectorConfig;

use crate::types::{
    BinaryMode, DecimalMode, HstoreMode, IntervalMode, Modes, TimePrecision, UnknownTypes,
};

/// The modes of types.
#[derive(Debug, Clone, ConnectorConfig)]
#[config(group = "Values")]
pub struct Values {
    /// How numbers of arbitrary precision are shown.
    #[config(default = "precise")]
    pub decimal_handling_mode: DecimalMode,
    /// How dates and times are shown; with `structured` intervals, too, whatever
    /// `interval.handling.mode` says.
    #[config(default = "adaptive")]
    pub time_precision_mode: TimePrecision,
    /// How intervals are shown.
    #[config(default = "numeric")]
    pub interval_handling_mode: IntervalMode,
    /// How hstore is shown.
    #[config(default = "json")]
    pub hstore_handling_mode: HstoreMode,
    /// How bytea is shown.
    #[config(default = "bytes")]
    pub binary_handling_mode: BinaryMode,
    /// How many digits money has behind the point.
    #[config(default = 2, range(min = 0, max = 18))]
    pub money_fraction_digits: u16,
    /// Whether columns of types that are not known are shown, rather than left out.
    #[config(default = false, dependents("unknown.datatypes"))]
    pub include_unknown_datatypes: bool,
    /// How such columns are shown. If it is not set they are left out, or `opaque`, as
    /// `include.unknown.datatypes` says.
    pub unknown_datatypes: Option<UnknownTypes>,
}

impl Values {
    /// How values are shown.
    #[must_use]
    pub fn modes(&self) -> Modes {
        Modes {
            decimal: self.decimal_handling_mode,
            time: self.time_precision_mode,
            interval: self.interval_handling_mode,
            hstore: self.hstore_handling_mode,
            binary: self.binary_handling_mode,
            money_fraction_digits: self.money_fraction_digits,
            unknown: match (self.unknown_datatypes, self.include_unknown_datatypes) {
                (Some(shown), _) => shown,
                (None, true) => UnknownTypes::Opaque,
                (None, false) => UnknownTypes::Drop,
            },
            ..Modes::default()
        }
    }
}
