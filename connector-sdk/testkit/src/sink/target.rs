//! What was handed to a sink, and whether the outside system shows what it must.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::stage::Problem;

/// The records of all partitions, as they stand in Kafka.
#[derive(Debug, Default)]
pub(super) struct Logs(pub(super) BTreeMap<i32, Log>);

/// A partition. Its offsets have gaps.
#[derive(Debug, Default)]
pub(super) struct Log {
    pub(super) entries: Vec<Entry>,
    /// The offset that the next record gets at the earliest.
    pub(super) end: i64,
    /// Everything below was reported durable.
    pub(super) durable: i64,
    /// The offsets of rejected records.
    pub(super) rejected: BTreeSet<i64>,
}

#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) offset: i64,
    pub(super) id: String,
    /// Whether the outside system refuses it.
    pub(super) poison: bool,
}

impl Logs {
    /// Holds what the outside system shows against what was reported. `restarts` is how often a
    /// partition may begin again further back.
    pub(super) fn verify(
        &self,
        shown: &[String],
        exactly_once: bool,
        restarts: usize,
    ) -> Result<(), Problem> {
        let mut places = HashMap::new();
        for (partition, log) in &self.0 {
            for entry in &log.entries {
                places.insert(entry.id.as_str(), (*partition, entry));
            }
        }
        let mut seen: BTreeMap<i32, Vec<&Entry>> = BTreeMap::new();
        for id in shown {
            let Some((partition, entry)) = places.get(id.as_str()) else {
                return Err(format!("the outside system shows {id:?}, which nobody wrote"));
            };
            seen.entry(*partition).or_default().push(entry);
        }
        for (partition, log) in &self.0 {
            let seen = seen.remove(partition).unwrap_or_default();
            log.verify(&seen, exactly_once, restarts)
                .map_err(|why| format!("in partition {partition} {why}"))?;
        }
        Ok(())
    }
}

impl Log {
    fn verify(&self, seen: &[&Entry], exactly_once: bool, restarts: usize) -> Result<(), Problem> {
        let offsets: BTreeSet<i64> = seen.iter().map(|entry| entry.offset).collect();
        for entry in self.entries.iter().filter(|entry| entry.offset < self.durable) {
            let rejected = self.rejected.contains(&entry.offset);
            match (rejected, offsets.contains(&entry.offset)) {
                (false, false) => {
                    return Err(format!(
                        "record {:?} (offset {}) can't be read back, though everything below {} \
                         was reported durable",
                        entry.id, entry.offset, self.durable
                    ));
                }
                (true, true) => {
                    return Err(format!("record {:?} was rejected, but is there", entry.id));
                }
                _ => {}
            }
        }
        let mut back = 0;
        for pair in seen.windows(2) {
            let (before, after) = (pair[0].offset, pair[1].offset);
            if after > before {
                continue;
            }
            if exactly_once {
                let what = if after == before { "twice" } else { "out of order or twice" };
                return Err(format!("record {:?} stands there {what}", pair[1].id));
            }
            back += 1;
        }
        if back > restarts {
            return Err(format!(
                "the records go back {back} times, after {restarts} restarts: {:?}",
                seen.iter().map(|entry| entry.offset).collect::<Vec<_>>()
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn logs(durable: i64, rejected: &[i64]) -> Logs {
        let entries = [0, 1, 3, 7]
            .map(|offset| Entry { offset, id: format!("r{offset}"), poison: false })
            .into();
        let rejected = rejected.iter().copied().collect();
        Logs(BTreeMap::from([(0, Log { entries, end: 8, durable, rejected })]))
    }

    #[test]
    fn what_is_shown_is_judged() {
        let check = |shown: &str, durable, exactly_once, restarts| {
            let shown: Vec<String> = shown.split_whitespace().map(str::to_owned).collect();
            logs(durable, &[]).verify(&shown, exactly_once, restarts)
        };
        assert_eq!(check("r0 r1 r3", 7, true, 0), Ok(()));
        assert_eq!(check("r0 r1", 3, true, 0), Ok(()));
        assert_eq!(check("", 0, true, 0), Ok(()));
        assert_eq!(check("r0 r1 r1 r3 r7", 8, false, 1), Ok(()));
        for (shown, durable, exactly_once, restarts, why) in [
            ("r0 r3", 4, true, 0, "record \"r1\" (offset 1) can't be read back"),
            ("r0 r1 r1", 2, true, 1, "twice"),
            ("r1 r0", 2, true, 1, "out of order"),
            ("r1 r0 r1 r0", 2, false, 1, "go back 2 times, after 1 restarts"),
            ("r0 x", 1, false, 0, "\"x\", which nobody wrote"),
        ] {
            let problem = check(shown, durable, exactly_once, restarts).unwrap_err();
            assert!(problem.contains(why), "{problem}");
        }
    }

    #[test]
    fn a_rejected_record_is_not_there() {
        let shown = |ids: &[&str]| ids.iter().map(ToString::to_string).collect::<Vec<_>>();
        let logs = logs(4, &[1]);
        assert_eq!(logs.verify(&shown(&["r0", "r3"]), true, 0), Ok(()));
        let problem = logs.verify(&shown(&["r0", "r1", "r3"]), true, 0).unwrap_err();
        assert!(problem.contains("was rejected, but is there"), "{problem}");
    }
}
