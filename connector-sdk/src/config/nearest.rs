//! Which known name a misspelt one may stand for.

/// Names longer than this are compared with nothing.
const MAX_LENGTH: usize = 200;

/// The known name that the fewest edits make of `name`, if it is near enough to be meant: at most
/// a third of its length, and at least one edit, may differ.
pub(super) fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let name: Vec<char> = name.chars().take(MAX_LENGTH + 1).collect();
    if name.len() > MAX_LENGTH {
        return None;
    }
    let limit = (name.len() / 3).max(1);
    known
        .map(|candidate| (distance(&name, candidate), candidate))
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Insertions, deletions, replacements and swaps of neighbours that turn one name into the other
/// (the restricted Damerau-Levenshtein distance).
fn distance(from: &[char], to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=to.len()).collect();
    for (i, a) in from.iter().enumerate() {
        let mut row = Vec::with_capacity(to.len() + 1);
        row.push(i + 1);
        for (j, b) in to.iter().enumerate() {
            let replaced = last[j] + usize::from(a != b);
            let mut edits = replaced.min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *a == to[j - 1] && from[i - 1] == *b {
                edits = edits.min(before_last[j - 1] + 1);
            }
            row.push(edits);
        }
        before_last = std::mem::replace(&mut last, row);
    }
    last[to.len()]
}

#[cfg(test)]
mod tests {
    use super::{distance, nearest};

    fn check(from: &str, to: &str, edits: usize) {
        let count = |from: &str, to| distance(&from.chars().collect::<Vec<_>>(), to);
        assert_eq!(count(from, to), edits, "{from} -> {to}");
        assert_eq!(count(to, from), edits, "{to} -> {from}");
    }

    #[test]
    fn counts_edits() {
        check("", "", 0);
        check("", "abc", 3);
        check("kitten", "sitting", 3);
        check("topics", "topcis", 1);
        check("flush.size", "flush.sise", 1);
    }

    #[test]
    fn suggests_only_what_may_be_meant() {
        let known = ["flush.size", "flush.interval.ms", "s3.bucket.name", "file"];
        let near = |name| nearest(name, known.into_iter());
        assert_eq!(near("flush.sze"), Some("flush.size"));
        assert_eq!(near("flush.interval"), Some("flush.interval.ms"));
        assert_eq!(near("fil"), Some("file"));
        assert_eq!(near("totally.different"), None);
        assert_eq!(near(""), None);
        assert_eq!(near(&"x".repeat(10_000)), None);
    }
}
