//! The reference of a definition in Markdown.

use super::definition::{ConfigDef, ConfigKey};

impl ConfigDef {
    /// The reference of all keys: those without a group first, then group by group, each in the
    /// order of declaration. Headings begin at the third level; the text ends in a newline.
    pub fn to_markdown(&self) -> String {
        let groups = std::iter::once(None).chain(self.groups().into_iter().map(Some));
        let mut sections = Vec::new();
        for group in groups {
            if let Some(group) = group {
                sections.push(format!("### {group}"));
            }
            let keys = self.keys.iter().filter(|key| key.group.as_deref() == group);
            sections.extend(keys.map(section));
        }
        let mut text = sections.join("\n\n");
        if !text.is_empty() {
            text.push('\n');
        }
        text
    }
}

/// One key: its documentation, then a list of facts.
fn section(key: &ConfigKey) -> String {
    let mut facts = vec![format!("Type: {}", key.kind.name().to_lowercase())];
    facts.push(match (&key.default, key.prefix()) {
        _ if key.required => "Required".to_owned(),
        (_, Some(prefix)) => format!("All keys that begin with {}", code(prefix)),
        (Some(default), None) => format!("Default: {}", code(default)),
        (None, None) => "Optional, without a default".to_owned(),
    });
    if key.choices.iter().any(|choice| !choice.documentation.is_empty()) {
        let choices = key.choices.iter().map(|choice| {
            let documentation = indented(choice.documentation);
            let separator = if documentation.is_empty() { "" } else { ": " };
            format!("\n  * {}{separator}{documentation}", code(choice.name))
        });
        facts.push(format!("Valid values:{}", choices.collect::<String>()));
    } else if let Some(valid) = &key.valid_values {
        facts.push(format!("Valid values: {}", code(valid)));
    }
    facts.push(format!("Importance: {}", key.importance.name().to_lowercase()));
    for (fact, names) in [
        ("Recommended", &key.recommended),
        ("Matters to", &key.dependents),
        ("Former names", &key.aliases),
    ] {
        if !names.is_empty() {
            let names: Vec<String> = names.iter().map(|name| code(name)).collect();
            facts.push(format!("{fact}: {}", names.join(", ")));
        }
    }
    if let Some(advice) = &key.deprecated {
        facts.push(format!("Deprecated: {advice}"));
    }
    let mut blocks = vec![format!("#### {}", code(&key.name)), key.documentation.clone()];
    // The documentation may end in a list of dashes; stars make this one another list.
    blocks.push(format!("* {}", facts.join("\n* ")));
    blocks.retain(|block| !block.is_empty());
    blocks.join("\n\n")
}

/// `text` as the continuation of a nested list item.
fn indented(text: &str) -> String {
    text.replace('\n', "\n    ").replace("\n    \n", "\n\n")
}

/// `text` as code, whatever it contains.
fn code(text: &str) -> String {
    let text = text.replace('\n', "\\n");
    if text.is_empty() {
        "`\"\"`".to_owned()
    } else if text.contains('`') || text.starts_with(' ') || text.ends_with(' ') {
        format!("`` {text} ``")
    } else {
        format!("`{text}`")
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::config::{ConfigDef, ConfigEnum, ConnectorConfig, Properties, Secret};

    #[derive(Debug, ConfigEnum)]
    enum Mode {
        /// Add rows only.
        Insert,
        /// Add or change rows.
        ///
        /// Needs a key.
        Upsert,
        /// Nothing.
        #[config(name = "off")]
        Off,
    }

    /// A sink, for the snapshot.
    #[derive(Debug, ConnectorConfig)]
    #[expect(dead_code, reason = "only its definition is looked at")]
    struct Sink {
        /// Where to write to.
        ///
        /// One of
        /// - a host
        /// - an address
        #[config(key = "server", importance = high, group = "Connection", dependents("port"))]
        server: String,
        /// The password.
        #[config(group = "Connection")]
        password: Option<Secret<String>>,
        /// What to do with a record.
        #[config(default = Mode::Upsert, alias("write.mode"))]
        mode: Mode,
        /// The port.
        #[config(group = "Connection", default = 80, range(min = 1), recommended(80, 443))]
        port: u16,
        /// Between elements.
        #[config(default = "`", one_of("`", ","))]
        separator: String,
        /// How long to wait, in milliseconds.
        #[config(importance = low, default = 0, deprecated = "use `server`")]
        wait_ms: Duration,
        /// Before each line.
        #[config(default = "")]
        indent: String,
        /// Headers to send.
        #[config(prefix = "header.", group = "Requests")]
        headers: Properties,
    }

    #[test]
    fn reference_of_a_sink() {
        let expect = include_str!("fixtures/reference.md");
        assert_eq!(Sink::definition().to_markdown(), expect);
    }

    #[test]
    fn reference_of_nothing() {
        assert_eq!(ConfigDef::new().to_markdown(), "");
    }
}
