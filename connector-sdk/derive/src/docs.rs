//! Doc comments as documentation in Markdown.

use syn::{Attribute, Expr, ExprLit, Lit, Meta};

/// The doc comment of an item, or `None` if it has none or a blank one.
///
/// The lines of a paragraph are joined. Paragraphs, list items, table rows and fenced blocks keep
/// their line breaks.
pub(crate) fn documentation(attributes: &[Attribute]) -> Option<String> {
    let lines = attributes.iter().filter_map(doc_text).collect::<Vec<_>>().join("\n");
    let text = join(&lines);
    (!text.is_empty()).then_some(text)
}

fn doc_text(attribute: &Attribute) -> Option<String> {
    let Meta::NameValue(meta) = &attribute.meta else { return None };
    if !meta.path.is_ident("doc") {
        return None;
    }
    match &meta.value {
        Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) => Some(text.value()),
        _ => None,
    }
}

fn join(lines: &str) -> String {
    let mut text = String::new();
    let mut fenced = false;
    let mut blank = false;
    for line in lines.lines() {
        let line = line.strip_prefix(' ').unwrap_or(line).trim_end();
        let fence = line.trim_start().starts_with("```");
        if line.is_empty() && !fenced {
            blank = true;
            continue;
        }
        let separator = match (text.is_empty(), blank) {
            (true, _) => "",
            (false, true) => "\n\n",
            (false, false) if fenced || fence || starts_block(line) || ends_block(&text) => "\n",
            (false, false) => " ",
        };
        text.push_str(separator);
        text.push_str(if separator == " " { line.trim_start() } else { line });
        fenced ^= fence;
        blank = false;
    }
    text
}

/// Whether a line begins something that must stand on a line of its own.
fn starts_block(line: &str) -> bool {
    let line = line.trim_start();
    let numbered = line.trim_start_matches(|c: char| c.is_ascii_digit());
    ["- ", "* ", "+ ", "|", "#", ">"].iter().any(|start| line.starts_with(start))
        || (numbered.len() < line.len() && numbered.starts_with(". "))
}

/// Whether the last line of `text` is one that nothing may be appended to.
fn ends_block(text: &str) -> bool {
    let last = text.rsplit('\n').next().unwrap_or_default().trim_start();
    last.starts_with(['|', '#']) || last.starts_with("```")
}

#[cfg(test)]
mod tests {
    use super::join;

    fn check(lines: &str, expect: &str) {
        assert_eq!(join(lines), expect);
    }

    #[test]
    fn joins_the_lines_of_a_paragraph() {
        check(" How long to wait,\n in milliseconds.", "How long to wait, in milliseconds.");
        check(" One.\n\n\n Two,\n still two.\n", "One.\n\nTwo, still two.");
        check("", "");
        check("  \n ", "");
    }

    #[test]
    fn keeps_lists_tables_and_fences() {
        check(" One of\n - a, which\n   goes on\n - b", "One of\n- a, which goes on\n- b");
        check(" | a |\n |---|\n | b |\n\n x\n y", "| a |\n|---|\n| b |\n\nx y");
        check(" So:\n ```\n a\n\n   b\n ```\n After", "So:\n```\na\n\n  b\n```\nAfter");
        check(" 1. a\n 2. b", "1. a\n2. b");
        check(" Since\n 2.5 it works", "Since 2.5 it works");
    }
}
