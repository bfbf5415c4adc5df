//! Paths to fields (KIP-821).
//!
//! In version 1 a path is the name of a field. In version 2 dots lead into nested structs or maps, and
//! names that contain dots stand between backticks.

use towpath_sdk::config::ConfigEnum;

/// How a path to a field is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ConfigEnum)]
#[config(ignore_case)]
pub enum FieldSyntax {
    /// The name of a field at the root.
    #[config(name = "V1")]
    V1,
    /// Names with dots between them; a name with dots in it stands between backticks.
    #[config(name = "V2")]
    V2,
}

/// The names from the root to a field; at least one.
pub(super) fn parse(path: &str, syntax: FieldSyntax) -> Result<Vec<String>, String> {
    if syntax == FieldSyntax::V1 {
        return Ok(vec![path.to_owned()]);
    }
    if path.is_empty() {
        return Err("a path has at least one name".to_owned());
    }
    let mut steps = Vec::new();
    let mut at = 0;
    while let Some(rest) = path.get(at..).filter(|rest| !rest.is_empty()) {
        let (step, length) = match rest.strip_prefix('`') {
            Some(quoted) => {
                let (step, length) = backticked(quoted).ok_or_else(|| {
                    format!(
                        "Incomplete backtick pair in path: [{path}], consider adding a backslash \
                         before backtick at position {} to escape it",
                        path[..at].encode_utf16().count()
                    )
                })?;
                (step, length + 1)
            }
            None => {
                let end = rest.find('.').unwrap_or(rest.len());
                (rest[..end].to_owned(), end)
            }
        };
        steps.push(step);
        // Over the dot.
        at += length + 1;
    }
    if path.ends_with('.') {
        steps.push(String::new());
    }
    Ok(steps)
}

/// The name before the closing backtick, and the length up to behind that. Only a backtick before a
/// dot or at the end closes; a backslash before it takes that away.
fn backticked(quoted: &str) -> Option<(String, usize)> {
    let mut name = String::new();
    let mut from = 0;
    for (at, _) in quoted.match_indices('`') {
        let escaped = quoted[..at].ends_with('\\');
        match quoted.as_bytes().get(at + 1) {
            None if escaped => return None,
            Some(b'.') if escaped => {
                name.push_str(&quoted[from..at - 1]);
                name.push('`');
                from = at + 1;
            }
            None | Some(b'.') => {
                name.push_str(&quoted[from..at]);
                return Some((name, at + 1));
            }
            Some(_) => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::{FieldSyntax, parse};

    #[test]
    fn dots_and_backticks() {
        let steps = |path| parse(path, FieldSyntax::V2).unwrap();
        assert_eq!(steps("a.b.c"), ["a", "b", "c"]);
        assert_eq!(steps("`a.b`.c"), ["a.b", "c"]);
        assert_eq!(steps("a.`b.c`"), ["a", "b.c"]);
        assert_eq!(steps("a`b.c"), ["a`b", "c"]);
        assert_eq!(steps("`a`b`.c"), ["a`b", "c"]);
        assert_eq!(steps("`a\\`.b`.c"), ["a`.b", "c"]);
        assert_eq!(steps("a..b."), ["a", "", "b", ""]);
        assert_eq!(parse("a.`b`", FieldSyntax::V1).unwrap(), ["a.`b`"]);
        for (path, position) in [("`a", 0), ("ä.`b\\`", 2), ("a.`b`c", 2)] {
            let why = parse(path, FieldSyntax::V2).unwrap_err();
            assert!(why.contains(&format!("[{path}]")), "{why}");
            assert!(why.contains(&format!("position {position} ")), "{why}");
        }
        assert!(parse("", FieldSyntax::V2).is_err());
    }
}
