//! Which known name someone may have meant.

/// The known name that takes the fewest edits from `name`, if that is few for its length.
pub(crate) fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let most = (name.len() / 5).clamp(1, 4);
    let candidate = |known: &'a str| {
        let near = known.len().abs_diff(name.len()) <= most;
        near.then(|| (distance(name.as_bytes(), known.as_bytes()), known))
    };
    let found = known.into_iter().filter_map(candidate).min_by_key(|(edits, _)| *edits);
    found.filter(|(edits, _)| *edits <= most).map(|(_, known)| known)
}

/// Insertions, deletions and replacements, and swaps of neighbours, each as one.
fn distance(a: &[u8], b: &[u8]) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, y) in b.iter().enumerate() {
            let mut least = (last[j] + usize::from(x != y)).min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *x == b[j - 1] && a[i - 1] == *y {
                least = least.min(before[j - 1] + 1);
            }
            row.push(least);
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_found_if_it_is_near() {
        let known = ["bootstrap.servers", "group.id", "group.instance.id"];
        for (name, expect) in [
            ("bootstrap.server", Some("bootstrap.servers")),
            ("boostrap.servres", Some("bootstrap.servers")),
            ("groupid", Some("group.id")),
            ("something.else", None),
            ("", None),
        ] {
            assert_eq!(nearest(name, known), expect, "{name}");
        }
    }
}
