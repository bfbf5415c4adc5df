//! Records by who they are.

use std::collections::BTreeMap;

use crate::stage::Problem;

/// A record's identity: what order it belongs to, and what tells it from all others.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Item {
    /// Records of one lane come in order: one file, one table, one partition.
    pub lane: String,
    /// Tells the record from all others of its lane.
    pub id: String,
}

impl Item {
    /// The record `id` of `lane`.
    pub fn new(lane: impl Into<String>, id: impl Into<String>) -> Self {
        Self { lane: lane.into(), id: id.into() }
    }
}

type Lanes<'i> = BTreeMap<&'i str, Vec<&'i str>>;

fn lanes(items: &[Item]) -> Lanes<'_> {
    let mut lanes = Lanes::new();
    for item in items {
        lanes.entry(&item.lane).or_default().push(&item.id);
    }
    lanes
}

/// Each of `expected` came once and in the order of its lane, and nothing else.
pub(crate) fn each_once(expected: &[Item], came: &[Item]) -> Result<(), Problem> {
    let (expected, came) = (lanes(expected), lanes(came));
    for (lane, came) in &came {
        let expected = expected.get(lane).map_or(&[][..], Vec::as_slice);
        let same = expected.iter().zip(came).take_while(|(a, b)| a == b).count();
        if let Some(id) = came.get(same) {
            let place = format!("number {} of lane {lane:?} is {id:?}", same + 1);
            return Err(match expected.get(same) {
                _ if came[..same].contains(id) => format!("{place}, which came before"),
                Some(right) => format!("{place}, expected {right:?}"),
                None => format!("{place}, which nobody put there"),
            });
        }
    }
    for (lane, expected) in &expected {
        let came = came.get(lane).map_or(0, Vec::len);
        if let Some(lost) = expected.get(came) {
            return Err(format!("record {lost:?} of lane {lane:?} did not come"));
        }
    }
    Ok(())
}

/// What is left of `expected` once `came` came, which was its beginning in each lane.
pub(crate) fn remaining(expected: &[Item], came: &[Item]) -> Vec<Item> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for item in came {
        *counts.entry(&item.lane).or_default() += 1;
    }
    let left = |item: &&Item| match counts.get_mut(item.lane.as_str()) {
        Some(count @ 1..) => {
            *count -= 1;
            false
        }
        _ => true,
    };
    expected.iter().filter(left).cloned().collect()
}

/// `came` is the end of each lane of `expected`, and at least `required`.
pub(crate) fn each_end(expected: &[Item], required: &[Item], came: &[Item]) -> Result<(), Problem> {
    let (all, required, came) = (lanes(expected), lanes(required), lanes(came));
    for (lane, required) in &required {
        let came = came.get(lane).map_or(&[][..], Vec::as_slice);
        if let Some(lost) = required.iter().find(|id| !came.contains(id)) {
            return Err(format!("record {lost:?} of lane {lane:?} did not come"));
        }
    }
    for (lane, came) in &came {
        let all = all.get(lane).map_or(&[][..], Vec::as_slice);
        if !all.ends_with(came) {
            return Err(format!("lane {lane:?} is out of order, or has records twice: {came:?}"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn items(text: &str) -> Vec<Item> {
        text.split_whitespace().map(|item| Item::new(&item[..1], &item[1..])).collect()
    }

    #[test]
    fn differences_are_named() {
        let expected = items("a1 a2 b1 a3");
        assert_eq!(each_once(&expected, &items("b1 a1 a2 a3")), Ok(()));
        for (came, why) in [
            ("a1 a2 b1", r#"record "3" of lane "a" did not come"#),
            ("a1 a3 a2 b1", r#"number 2 of lane "a" is "3", expected "2""#),
            ("a1 a1 a2 a3 b1", r#"number 2 of lane "a" is "1", which came before"#),
            ("a1 a2 a3 b1 b2", r#"number 2 of lane "b" is "2", which nobody put there"#),
            ("a1 a2 a3", r#"record "1" of lane "b" did not come"#),
        ] {
            assert_eq!(each_once(&expected, &items(came)), Err(why.to_owned()), "{came}");
        }
    }

    #[test]
    fn the_rest_of_each_lane() {
        let expected = items("a1 a2 b1 a3 b2");
        assert_eq!(remaining(&expected, &items("b1 a1")), items("a2 a3 b2"));
        assert_eq!(remaining(&expected, &[]), expected);
        let required = items("a3 b2");
        assert_eq!(each_end(&expected, &required, &items("b2 a2 a3")), Ok(()));
        for came in ["a3", "b2 a3 a2", "b2 a2 a3 a3", "b2 a1 a3"] {
            assert!(each_end(&expected, &required, &items(came)).is_err(), "{came}");
        }
    }
}
