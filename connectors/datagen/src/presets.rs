//! Records that are ready to use.

use crate::config::Preset;

/// Fields, a dotted path with its expression each, and the field that keys are taken from.
pub(crate) struct Content {
    pub(crate) fields: &'static [(&'static str, &'static str)],
    pub(crate) key: &'static str,
}

impl Preset {
    /// What its records consist of.
    pub(crate) fn content(self) -> Content {
        match self {
            Self::Clicks => CLICKS,
            Self::Orders => ORDERS,
        }
    }
}

/// What visitors of a shop do. Few of them do most of it.
const CLICKS: Content = Content {
    key: "user_id",
    fields: &[
        ("event_id", "uuid()"),
        ("event_time", "timestamp(format: 'iso', jitter: 2000)"),
        ("user_id", "'u-{zipf(100000, 1.05)}'"),
        ("session_id", "per($user_id, hex(12))"),
        (
            "event",
            "choice('view': 70, 'search': 12, 'add_to_cart': 10, 'checkout': 5, 'purchase': 3)",
        ),
        (
            "page",
            "switch($event, 'search': '/search?q={choice('shoes', 'lamp', 'tea', 'desk', 'bag')}', \
             'checkout': '/checkout', 'purchase': '/order/confirmed', '/product/{zipf(5000, 1.1)}')",
        ),
        ("referrer", "maybe(0.4, choice('search': 5, 'mail': 2, 'social': 3))"),
        ("device.type", "per($user_id, choice('mobile': 62, 'desktop': 33, 'tablet': 5))"),
        (
            "device.os",
            "per($user_id, switch($device.type, 'desktop': choice('Windows': 6, 'macOS': 3, \
             'Linux': 1), choice('Android': 6, 'iOS': 4)))",
        ),
        ("country", "per($user_id, choice('DE': 3, 'FR': 2, 'US': 4, 'IN': 4, 'BR': 2, 'JP': 1))"),
        ("duration_ms", "int(3, 1500)"),
    ],
};

/// Orders of a shop with their lines.
const ORDERS: Content = Content {
    key: "order_id",
    fields: &[
        ("order_id", "'o-{sequence(1)}'"),
        ("ordered_at", "timestamp(format: 'iso')"),
        ("customer.id", "zipf(20000, 1.05)"),
        ("customer.country", "per($customer.id, choice('DE': 3, 'US': 4, 'JP': 1, 'GB': 2))"),
        ("currency", "switch($customer.country, 'DE': 'EUR', 'JP': 'JPY', 'GB': 'GBP', 'USD')"),
        ("status", "choice('created': 5, 'paid': 70, 'shipped': 20, 'cancelled': 5)"),
        (
            "lines",
            "array(1, 4, object(sku: 'SKU-{zipf(2000, 1.1)}', quantity: int(1, 5), \
             unit_price: per($sku, float(2, 250)), amount: product($quantity, $unit_price)))",
        ),
        ("shipping", "choice(0: 6, 4.9: 3, 9.9: 1)"),
        ("note", "optional(0.05, 'leave at the door')"),
    ],
};
