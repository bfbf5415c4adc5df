//! Expressions, of which records are made.
//!
//! Duty: compile the fields of a configuration, all mistakes at once ([`Program::compile`]), and write
//! one record's JSON ([`Program::write`]).
//!
//! | expression | value |
//! |---|---|
//! | `12`, `1.5`, `'text'`, `true`, `null` | itself |
//! | `'user-{$id}'` | a text with other expressions in it; `{{` and `}}` are braces |
//! | `$user.id` | the value of a field before this one; inside `object`, also of its members |
//! | `sequence(start: 0, step: 1)` | a number of its own for each record |
//! | `int(1, 10)` | a whole number of the range, ends included |
//! | `float(0, 1, decimals: 2)` | a decimal number of the range |
//! | `normal(100, 15, decimals: 2)` | a number around a mean, with a standard deviation |
//! | `zipf(1000, 1.1)` | a whole number from 1 on, low ones much more often |
//! | `bool(0.5)` | true with that probability |
//! | `uuid()`, `hex(8)` | a UUID; hexadecimal digits |
//! | `choice('a', 'b')`, `choice('a': 9, 'b': 1)` | one of the values, by weight |
//! | `timestamp(format: 'ms', jitter: 0)` | the record's time (`ms`, `s`, `iso`), up to `jitter` milliseconds late |
//! | `sum(…)`, `product(…, decimals: 2)` | of numbers |
//! | `maybe(0.9, …)`, `optional(0.9, …)` | the value with that probability, else null; else no such field |
//! | `array(1, 5, …)` | so many elements |
//! | `object(name: …, …)` | an object |
//! | `per($user.id, …)` | a value that is the same for the same user |
//! | `switch($event, 'view': …, 'buy': …, …)` | a value by another field's; the last for all others |

mod compile;
mod node;
mod parse;

use std::ops::Range;

use compile::Layout;
pub(crate) use node::{Maker, Node};

use crate::random::Random;

/// A compiled record.
#[derive(Debug)]
pub(crate) struct Program {
    record: Node,
    slots: usize,
    key: Option<usize>,
}

impl Program {
    /// Compiles `fields`, a dotted path with its expression each. `key` is the path of the field that
    /// the key is taken from. Errors come with the path of the field; without one, they are about the
    /// key.
    pub(crate) fn compile(
        fields: &[(&str, &str)],
        key: Option<&str>,
    ) -> Result<Self, Vec<(String, String)>> {
        let Layout { members, slots, key } = compile::compile(fields, key)?;
        Ok(Self { record: Node::Object(members), slots, key })
    }

    /// A maker for records of this program with the given `seed`.
    pub(crate) fn maker(&self, seed: u64) -> Maker {
        Maker {
            out: Vec::new(),
            random: Random::new(seed, 0),
            seed,
            sequence: 0,
            time_ms: 0,
            slots: vec![0..0; self.slots],
        }
    }

    /// Appends the JSON of record number `sequence`.
    pub(crate) fn write(&self, maker: &mut Maker, sequence: u64, time_ms: i64) {
        maker.random = Random::new(maker.seed, sequence);
        maker.sequence = sequence;
        maker.time_ms = time_ms;
        self.record.write(maker);
    }

    /// Where the JSON of the key of the record is that was written last; empty if it has none.
    pub(crate) fn key_place(&self, maker: &Maker) -> Range<usize> {
        self.key.and_then(|slot| maker.slots.get(slot).cloned()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn records(fields: &[(&str, &str)], count: u64) -> Vec<Value> {
        let program = Program::compile(fields, None).unwrap();
        let mut maker = program.maker(1);
        (0..count)
            .map(|n| {
                maker.out.clear();
                program.write(&mut maker, n, 1_704_067_200_123);
                serde_json::from_slice(&maker.out)
                    .unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&maker.out)))
            })
            .collect()
    }

    fn values(expression: &str, count: u64) -> Vec<Value> {
        records(&[("x", expression)], count).into_iter().map(|r| r["x"].clone()).collect()
    }

    fn always(expression: &str, expect: &Value) {
        assert!(values(expression, 5).iter().all(|v| v == expect), "{expression}");
    }

    #[test]
    fn literals_and_times() {
        always("12", &json!(12));
        always("-1.5", &json!(-1.5));
        always(r#"'a "b" \\ é'"#, &json!("a \"b\" \\ é"));
        always("null", &Value::Null);
        always("timestamp()", &json!(1_704_067_200_123_i64));
        always("timestamp(format: 's')", &json!(1_704_067_200));
        always("timestamp(format: 'iso')", &json!("2024-01-01T00:00:00.123Z"));
        always("sum(1, 2.5, product(2, 3))", &json!(9.5));
        always("product(7, 6, decimals: 0)", &json!(42));
        let late = values("timestamp(jitter: 100)", 200);
        let late: Vec<i64> = late.iter().map(|v| 1_704_067_200_123 - v.as_i64().unwrap()).collect();
        assert!(late.iter().all(|l| (0..=100).contains(l)) && late.iter().any(|l| *l > 50));
    }

    #[test]
    fn numbers_stay_in_their_ranges_and_fill_them() {
        let check = |expression: &str, min: f64, max: f64| {
            let values = values(expression, 500);
            let numbers: Vec<f64> = values.iter().map(|v| v.as_f64().unwrap()).collect();
            assert!(numbers.iter().all(|n| (min..=max).contains(n)), "{expression}");
            let middle = f64::midpoint(min, max);
            assert!(numbers.iter().any(|n| *n < middle) && numbers.iter().any(|n| *n >= middle));
        };
        check("int(-3, 3)", -3.0, 3.0);
        check("int(-9223372036854775808, -1)", i64::MIN as f64, -1.0);
        check("float(-0.5, 0.5)", -0.5, 0.5);
        check("float(9.99, 19.99, decimals: 3)", 9.99, 19.99);
        check("zipf(3, 1)", 1.0, 3.0);
        check("normal(0, 1)", -6.0, 6.0);
        assert_eq!(values("sequence(10, 5)", 3), [json!(10), json!(15), json!(20)]);
        let text = records(&[("x", "float(0, 1)")], 1)[0].to_string();
        assert_eq!(text.len(), r#"{"x":0.00}"#.len(), "{text}");
    }

    #[test]
    fn choices_follow_their_weights() {
        let share = |expression: &str, of: Value| {
            values(expression, 20_000).iter().filter(|v| **v == of).count() as f64 / 2e4
        };
        assert!((share("choice('a', 'b')", json!("a")) - 0.5).abs() < 0.02);
        assert!((share("choice('a': 9, 'b': 1)", json!("b")) - 0.1).abs() < 0.02);
        assert!((share("choice(1: 0.25, true: 0.75)", json!(true)) - 0.75).abs() < 0.02);
        assert!((share("bool(0.2)", json!(true)) - 0.2).abs() < 0.02);
        assert!((share("maybe(0.3, 1)", Value::Null) - 0.7).abs() < 0.02);
        assert_eq!(share("choice('a': 0, 'b': 1)", json!("a")), 0.0);
    }

    #[test]
    fn identifiers() {
        let uuids = values("uuid()", 100);
        for uuid in &uuids {
            let text = uuid.as_str().unwrap();
            assert_eq!((text.len(), &text[14..15]), (36, "4"), "{text}");
            assert!("89ab".contains(&text[19..20]), "{text}");
        }
        assert_eq!(uuids.iter().collect::<std::collections::HashSet<_>>().len(), 100);
        assert_eq!(values("hex(20)", 1)[0].as_str().map(str::len), Some(20));
    }

    #[test]
    fn fields_refer_to_fields_before_them() {
        let fields = [
            ("user.id", "int(1, 5)"),
            ("user.name", "'user-{$user.id}'"),
            ("country", "per($user.id, choice('de', 'fr', 'it', 'es'))"),
            ("greeting", "switch($user.id, 1: 'one', 2: int(20, 29), 'hello {$user.name}')"),
            (
                "items",
                "array(2, 2, object(n: int(1, 9), price: float(1, 2), line: product($n, $price)))",
            ),
            ("gone", "optional(0, 1)"),
            ("copy", "$gone"),
        ];
        let mut countries = std::collections::HashMap::new();
        for record in records(&fields, 200) {
            let id = record["user"]["id"].as_i64().unwrap();
            let name = format!("user-{id}");
            assert_eq!(record["user"]["name"], name.as_str());
            let country = countries.entry(id).or_insert_with(|| record["country"].clone());
            assert_eq!(*country, record["country"]);
            match id {
                1 => assert_eq!(record["greeting"], "one"),
                2 => assert!((20..30).contains(&record["greeting"].as_i64().unwrap())),
                _ => assert_eq!(record["greeting"], format!("hello {name}").as_str()),
            }
            let items = record["items"].as_array().unwrap();
            assert_eq!(items.len(), 2);
            for item in items {
                let number = |name: &str| item[name].as_f64().unwrap();
                assert!((number("n") * number("price") - number("line")).abs() < 0.006);
            }
            assert!(record.get("gone").is_none() && record.get("copy").is_none());
        }
        assert!(countries.len() == 5);
        assert!(countries.values().collect::<std::collections::HashSet<_>>().len() > 1);
    }

    #[test]
    fn a_record_depends_on_its_number_alone() {
        let fields = [("a", "zipf(100, 1.2)"), ("b", "uuid()"), ("c", "array(0, 3, int(1, 9))")];
        let program = Program::compile(&fields, Some("b")).unwrap();
        let make = |numbers: &[u64]| {
            let mut maker = program.maker(3);
            for number in numbers {
                maker.out.clear();
                program.write(&mut maker, *number, 0);
            }
            (maker.out[program.key_place(&maker)].to_vec(), maker.out)
        };
        assert_eq!(make(&[1, 2, 3, 7]), make(&[7]));
        assert_ne!(make(&[7]), make(&[8]));
        assert_eq!(make(&[7]).0.len(), 38);
    }

    #[test]
    fn all_mistakes_are_found() {
        let fields = [
            ("a", "nope()"),
            ("b", "int(2, 1)"),
            ("c", "$later"),
            ("later", "choice('x': -1)"),
            ("d", "$later"),
            ("e.f", "1"),
            ("e", "2"),
            ("g h", "1"),
            ("i", "float(1)"),
            ("j", "int(1, 2, 3)"),
            ("k", "uuid(x: 1)"),
            ("l", "'{array(1, 1, 1)}'"),
            ("m", "sum('x')"),
            ("n", "switch($a, 1: 2)"),
            ("o", "timestamp(format: 'x')"),
            ("p", "bool(2)"),
            ("q", "array(1, 1000, array(1, 11, 0))"),
        ];
        let errors = Program::compile(&fields, Some("z")).unwrap_err();
        let errors: Vec<String> =
            errors.iter().map(|(path, error)| format!("{path}: {error}")).collect();
        assert_eq!(
            errors,
            [
                "e: e can't be a value and have fields of its own",
                "g h: The name of a field consists of letters, digits, '_', '-' and '@'",
                "a: there is no function nope; there are array, bool, choice, float, hex, int, \
                 maybe, normal, object, optional, per, product, sequence, sum, switch, timestamp, \
                 uuid, zipf",
                "b: the greatest value is below the least",
                "c: $later is no field before this one",
                "later: the weight of a choice is at least 0",
                "i: float needs a number as its max",
                "j: int has too many arguments",
                "k: uuid has no argument x",
                "l: an array or object can't stand in a text",
                "m: sum takes numbers",
                "n: switch ends in a value for all other cases",
                "o: timestamp needs 'ms', 's' or 'iso' as its format",
                "p: bool needs a number from 0 to 1 as its probability",
                "q: array needs 0 <= min <= max <= 10",
                ": There is no field z",
            ]
        );
    }
}
