//! `towpath reference`: the reference of every plug-in of this binary, and of its metrics, as Markdown.
//!
//! Invariant: pages are made from definitions alone, so what a worker checks is what is written; the
//! test below compares them with those in `docs`.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use towpath_core::framework::{CommonKeys, SinkKeys, SourceKeys};
use towpath_core::metrics::Metrics;
use towpath_sdk::config::{ConfigDef, ConnectorConfig};
use towpath_sdk::plugin::{PluginInfo, PluginKind, PluginName, Registry};

use crate::memory::ResidentMemory;
use crate::registry::registry;

/// Says on every page where it comes from.
const NOTICE: &str = "<!-- Made by `towpath reference`. Change the doc comments in the code, then run \
                      `cargo run -p towpath-server -- reference docs`. -->";
/// The folder of the plug-ins' pages; all pages in it are ours.
const FOLDER: &str = "connectors";
/// The index, and what connectors have in common.
const INDEX: &str = "connectors/README.md";
const EVERY_SOURCE: &str = "connectors/every-source.md";
const EVERY_SINK: &str = "connectors/every-sink.md";
const METRICS: &str = "metrics.md";

/// Pages by their path below the folder of the documentation.
type Pages = BTreeMap<String, String>;

/// Writes the pages into `dir`, and removes pages that are no longer made.
///
/// # Errors
/// If a file can't be written.
pub(crate) fn main(dir: &Path) -> Result<()> {
    let pages = pages(&registry())?;
    let folder = dir.join(FOLDER);
    fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
    for (name, text) in &pages {
        let path = dir.join(name);
        fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
    }
    for name in written(dir)?.into_keys().filter(|name| !pages.contains_key(name)) {
        let path = dir.join(name);
        fs::remove_file(&path).with_context(|| format!("remove {}", path.display()))?;
    }
    Ok(())
}

/// The pages of ours that are in `dir`.
fn written(dir: &Path) -> Result<Pages> {
    let mut found = Pages::new();
    for folder in [Path::new(""), Path::new(FOLDER)] {
        let at = dir.join(folder);
        for entry in fs::read_dir(&at).with_context(|| format!("read {}", at.display()))? {
            let entry = entry?;
            let path = entry.path();
            if path.extension().is_none_or(|extension| extension != "md") {
                continue;
            }
            let text =
                fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
            if text.contains(NOTICE) {
                let name = folder.join(entry.file_name());
                found.insert(name.to_string_lossy().into_owned(), text);
            }
        }
    }
    Ok(found)
}

/// A plug-in as the pages need it.
struct Entry {
    info: PluginInfo,
    kind: Kind,
    definition: &'static ConfigDef,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Plugin(PluginKind),
    Provider,
}

impl Kind {
    const ALL: [Self; 7] = [
        Self::Plugin(PluginKind::Source),
        Self::Plugin(PluginKind::Sink),
        Self::Plugin(PluginKind::Converter),
        Self::Plugin(PluginKind::HeaderConverter),
        Self::Plugin(PluginKind::Transformation),
        Self::Plugin(PluginKind::Predicate),
        Self::Provider,
    ];

    /// What it is, its heading in the index, and how its keys are written.
    fn texts(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::Plugin(PluginKind::Source) => (
                "A source connector",
                "Sources: from an outside system to Kafka",
                "It takes those of [every source](every-source.md) too.",
            ),
            Self::Plugin(PluginKind::Sink) => (
                "A sink connector",
                "Sinks: from Kafka to an outside system",
                "It takes those of [every sink](every-sink.md) too.",
            ),
            Self::Plugin(PluginKind::Converter) => (
                "A converter of keys, values and headers",
                "Converters",
                "Keys stand behind `key.converter.`, `value.converter.` or `header.converter.`, in a \
                 worker's file or in a connector's configuration. A connector that names a converter \
                 itself takes none of the worker's settings for it.",
            ),
            Self::Plugin(PluginKind::HeaderConverter) => (
                "A converter of headers",
                "Converters of headers only",
                "Keys stand behind `header.converter.`, in a worker's file or in a connector's \
                 configuration.",
            ),
            Self::Plugin(PluginKind::Transformation) => (
                "A transform",
                "Transforms",
                "Keys stand behind `transforms.<alias>.`; `transforms` lists the aliases in the order \
                 in which they work, and `transforms.<alias>.type` names the class. \
                 `transforms.<alias>.predicate` names a predicate that guards it, and \
                 `transforms.<alias>.negate` turns that around.",
            ),
            Self::Plugin(PluginKind::Predicate) => (
                "A predicate",
                "Predicates: which records a transform works on",
                "Keys stand behind `predicates.<alias>.`; `predicates` lists the aliases, and \
                 `predicates.<alias>.type` names the class.",
            ),
            Self::Provider => (
                "A configuration provider",
                "Configuration providers: where `${name:path:key}` finds its value",
                "Keys stand behind `config.providers.<name>.param.` in the worker's file; \
                 `config.providers` lists the names, and `config.providers.<name>.class` names the \
                 class.",
            ),
        }
    }
}

fn entries(registry: &Registry) -> Vec<Entry> {
    let mut entries: Vec<Entry> = registry
        .connectors()
        .iter()
        .map(|p| Entry { info: p.info(), kind: Kind::Plugin(p.kind()), definition: p.definition() })
        .collect();
    let mut part = |info, kind, definition: fn() -> &'static ConfigDef| {
        entries.push(Entry { info, kind, definition: definition() });
    };
    for p in registry.converters() {
        part(p.info, Kind::Plugin(PluginKind::Converter), p.definition);
    }
    for p in registry.only_header_converters() {
        part(p.info, Kind::Plugin(PluginKind::HeaderConverter), p.definition);
    }
    for p in registry.transforms() {
        part(p.info, Kind::Plugin(PluginKind::Transformation), p.definition);
    }
    for p in registry.predicates() {
        part(p.info, Kind::Plugin(PluginKind::Predicate), p.definition);
    }
    for p in registry.providers() {
        part(p.info, Kind::Provider, p.definition);
    }
    entries
}

fn pages(registry: &Registry) -> Result<Pages> {
    let entries = entries(registry);
    let mut pages = Pages::new();
    for entry in &entries {
        pages.insert(file_name(entry), page(entry));
    }
    pages.insert(INDEX.to_owned(), index(&entries));
    let mut source = CommonKeys::definition().clone();
    source.merge(SourceKeys::definition().clone());
    let about = "Keys that every source connector takes. Besides, a transform and a predicate have keys \
                 of their own, and topics that are to be created take Kafka Connect's \
                 `topic.creation.<group>.` keys: `include` and `exclude` (Java regular expressions; not \
                 for the group `default`), `replication.factor` and `partitions` (both required for the \
                 group `default`), and any setting of a topic.";
    pages.insert(EVERY_SOURCE.to_owned(), shared_page("Every source", about, &source));
    let mut sink = CommonKeys::definition().clone();
    sink.merge(SinkKeys::definition().clone());
    let about = "Keys that every sink connector takes. Besides, a transform and a predicate have keys \
                 of their own.";
    pages.insert(EVERY_SINK.to_owned(), shared_page("Every sink", about, &sink));
    pages.insert(METRICS.to_owned(), metrics()?);
    Ok(pages)
}

/// The metrics of a worker, from what it serves itself.
fn metrics() -> Result<String> {
    let metrics = Arc::new(Metrics::new());
    metrics.register(|registry| registry.register_collector(Box::new(ResidentMemory)));
    // What has no labels yet does not show.
    metrics.task("name", 0).event("event", 1);
    let text = metrics.render().context("render the metrics")?;
    let mut rows: BTreeMap<&str, [&str; 2]> = BTreeMap::new();
    for line in text.lines() {
        let mut words = line.splitn(4, ' ');
        let (Some("#"), Some(fact), Some(name), Some(value)) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            continue;
        };
        let row = rows.entry(name).or_default();
        match fact {
            "TYPE" => row[0] = value,
            "HELP" => row[1] = value,
            _ => {}
        }
    }
    let mut page = format!(
        "# Metrics\n\n{NOTICE}\n\nA worker serves them at `GET /metrics`, in the text format of OpenMetrics, \
         which Prometheus scrapes as it is. Those of tasks have the labels `connector` and `task`. A counter's samples \
         end in `_total`; a histogram's in `_bucket`, `_sum` and `_count`.\n\n\
         | name | type | meaning |\n|---|---|---|\n"
    );
    for (name, [kind, help]) in rows {
        page.push_str(&format!("| `{name}` | {kind} | {help} |\n"));
    }
    Ok(page)
}

fn shared_page(title: &str, about: &str, definition: &ConfigDef) -> String {
    format!("# {title}\n\n{NOTICE}\n\n{about}\n\n## Keys\n\n{}", definition.to_markdown())
}

/// The name that a person would say: ours, or a class without its package.
fn title(entry: &Entry) -> &'static str {
    let first = entry.info.names.first().map_or("", |name| name.name);
    first.rsplit('.').next().unwrap_or(first)
}

/// What it does, as a sentence.
fn summary(entry: &Entry) -> String {
    format!("{}.", entry.info.summary.trim_end_matches('.'))
}

fn file_name(entry: &Entry) -> String {
    format!("{FOLDER}/{}.md", title(entry).replace('$', "-"))
}

fn page(entry: &Entry) -> String {
    let (what, _, how) = entry.kind.texts();
    let mut text = format!("# {}\n\n{NOTICE}\n\n{what}. {}\n", title(entry), summary(entry));
    text.push_str("\n## Names\n\n");
    for name in entry.info.names {
        text.push_str(&name_line(name));
    }
    let connector = matches!(entry.kind, Kind::Plugin(PluginKind::Source | PluginKind::Sink));
    if entry.info.names.iter().any(|name| name.name.contains('.')) {
        text.push_str("\nA class may also be called by its last part");
        text.push_str(if connector {
            ", with or without `Connector` at the end.\n"
        } else {
            ".\n"
        });
    }
    let keys = entry.definition.to_markdown();
    let mut blocks = vec!["## Keys"];
    if keys.is_empty() {
        blocks.push("It has none of its own.");
    }
    if connector || !keys.is_empty() {
        blocks.push(how);
    }
    if !keys.is_empty() {
        blocks.push(keys.trim_end());
    }
    format!("{text}\n{}\n", blocks.join("\n\n"))
}

fn name_line(name: &PluginName) -> String {
    let mut line = format!("- `{}`", name.name);
    if !name.defaults.is_empty() {
        line.push_str(", with other defaults than those below:");
        for (key, value) in name.defaults {
            line.push_str(&format!(
                "\n  - `{key}`: `{}`",
                if value.is_empty() { "\"\"" } else { value }
            ));
        }
    }
    line.push('\n');
    line
}

fn index(entries: &[Entry]) -> String {
    let mut text = format!(
        "# Reference\n\n{NOTICE}\n\nEverything that this Towpath can be told to use. The same tables come \
         from a running worker: `GET /connector-plugins?connectorsOnly=false` and \
         `GET /connector-plugins/<name>/config`.\n"
    );
    for kind in Kind::ALL {
        let mut of_kind = entries.iter().filter(|entry| entry.kind == kind).peekable();
        if of_kind.peek().is_none() {
            continue;
        }
        text.push_str(&format!("\n## {}\n\n", kind.texts().1));
        match kind {
            Kind::Plugin(PluginKind::Source) => {
                text.push_str("What all have: [every source](every-source.md).\n\n");
            }
            Kind::Plugin(PluginKind::Sink) => {
                text.push_str("What all have: [every sink](every-sink.md).\n\n");
            }
            _ => {}
        }
        text.push_str("| name | what it does |\n|---|---|\n");
        for entry in of_kind {
            let (name, path) = (title(entry), file_name(entry));
            let file = path.trim_start_matches("connectors/");
            text.push_str(&format!("| [`{name}`]({file}) | {} |\n", summary(entry)));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const REGENERATE: &str = "run: cargo run -p towpath-server -- reference docs";

    #[test]
    fn the_reference_is_up_to_date() {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs");
        let written = written(&dir).unwrap_or_else(|error| panic!("{error:#}; {REGENERATE}"));
        let pages = pages(&registry()).unwrap();
        let names = |pages: &Pages| pages.keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(&written), names(&pages), "docs has other pages; {REGENERATE}");
        for (name, text) in &pages {
            assert!(&written[name] == text, "docs/{name} is out of date; {REGENERATE}");
        }
    }

    #[test]
    fn every_plugin_has_a_page_of_its_own_and_says_what_it_is() {
        let registry = registry();
        let entries = entries(&registry);
        let pages = pages(&registry).unwrap();
        let shared = [INDEX, EVERY_SOURCE, EVERY_SINK, METRICS];
        assert_eq!(pages.len(), entries.len() + shared.len(), "two pages have one name");
        for entry in &entries {
            assert!(entry.definition.keys.iter().all(|key| !key.documentation.is_empty()));
            let summary = entry.info.summary;
            assert!(!summary.is_empty() && !summary.contains(['|', '\n']), "{summary}");
        }
    }

    #[test]
    fn every_metric_has_a_meaning() {
        let page = metrics().unwrap();
        let rows: Vec<&str> = page.lines().filter(|line| line.starts_with("| `towpath_")).collect();
        assert!(rows.len() > 15, "{page}");
        assert!(rows.iter().all(|row| row.len() > 40 && row.ends_with(". |")), "{page}");
    }
}
