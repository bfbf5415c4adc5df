//! The order in which a `java.util.HashMap` shows its entries.
//!
//! A map that was filled one by one from empty has the smallest power of two from 16 on of which its
//! entries fill at most three quarters; entries come by bucket, within a bucket in the order of
//! insertion. (Buckets of more than eight entries become trees in Java; those keep that order too, up
//! to which entry comes first.)

use towpath_sdk::value::Value;

/// `entries` in that order.
pub(super) fn in_hash_order(entries: &[(Value, Value)]) -> Vec<&(Value, Value)> {
    let mut buckets = 16_usize;
    while entries.len() > buckets / 4 * 3 {
        buckets *= 2;
    }
    let mut ordered: Vec<_> = entries.iter().collect();
    ordered.sort_by_cached_key(|(key, _)| {
        let hash = hash(key);
        (hash ^ (hash >> 16)) as usize & (buckets - 1)
    });
    ordered
}

/// `Object.hashCode`, for the types that keys have; 0 for the others.
fn hash(key: &Value) -> u32 {
    let of_long = |bits: u64| {
        let [a, b, c, d, e, f, g, h] = bits.to_be_bytes();
        u32::from_be_bytes([a, b, c, d]) ^ u32::from_be_bytes([e, f, g, h])
    };
    match key {
        Value::Boolean(b) => 1231 + 6 * u32::from(!b),
        Value::Int8(n) => i32::from(*n).cast_unsigned(),
        Value::Int16(n) => i32::from(*n).cast_unsigned(),
        Value::Int32(n) => n.cast_unsigned(),
        Value::Int64(n) => of_long(n.cast_unsigned()),
        Value::Float32(n) => n.to_bits(),
        Value::Float64(n) => of_long(n.to_bits()),
        Value::String(text) => text
            .encode_utf16()
            .fold(0, |hash: u32, unit| hash.wrapping_mul(31).wrapping_add(unit.into())),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(keys: &[&str]) -> String {
        let entries: Vec<_> =
            keys.iter().map(|k| (Value::String((*k).into()), Value::Null)).collect();
        let ordered: Vec<_> =
            in_hash_order(&entries).into_iter().filter_map(|(k, _)| k.as_str()).collect();
        ordered.join(" ")
    }

    #[test]
    fn hashes_are_javas() {
        assert_eq!(hash(&Value::String("hello".into())), 99_162_322);
        assert_eq!(hash(&Value::String("polygenelubricants".into())), 0x8000_0000);
        assert_eq!(hash(&Value::Int64(-1)), 0);
        assert_eq!((hash(&Value::Boolean(true)), hash(&Value::Boolean(false))), (1231, 1237));
    }

    #[test]
    fn order_is_by_bucket_of_a_table_that_grows() {
        // Single letters hash to their code, so they come in the order of the alphabet, modulo 16.
        assert_eq!(order(&["b", "a", "p", "q"]), "p a q b");
        let letters: Vec<String> = ('a'..='m').rev().map(String::from).collect();
        let letters: Vec<&str> = letters.iter().map(String::as_str).collect();
        assert_eq!(order(&letters), "a b c d e f g h i j k l m");
        assert_eq!(order(&["Aa", "BB"]), "Aa BB");
        assert_eq!(order(&["BB", "Aa"]), "BB Aa");
    }
}
