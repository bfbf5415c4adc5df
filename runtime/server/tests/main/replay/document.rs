//! `docs/rest-differences.md`, made from the table.

use std::fmt::Write as _;

use anyhow::{Context, Result, ensure};

use super::differences::{DIFFERENCES, Difference, Ours};
use super::exchange::{Exchange, recorded};

const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/rest-differences.md");
/// Set it to write the page anew.
const WRITE: &str = "TOWPATH_WRITE_DOCS";

const HEAD: &str = "\
# Where the REST API differs from Kafka Connect's

Towpath answers Kafka Connect's endpoints as Kafka Connect 4.3.1 does: 173 exchanges with the genuine one were
recorded, and a test repeats them against a worker (`cargo test -p towpath-server replay`). Status, the headers
`Content-Type`, `Location` and `Allow`, and every member of the bodies must be the recorded ones, but for what is
listed here. Ids, times, versions of plug-ins, stack traces and texts of documentation only have to be there; lists
whose order means nothing may have another.

This page is made from the test's table (`runtime/server/tests/main/replay/differences.rs`), which fails when a
difference is gone or a new one appears. A `*` stands for anything.
";

fn page(exchanges: &[Exchange]) -> Result<String> {
    let mut page = HEAD.to_owned();
    page.push_str("\n| request | Connect | Towpath | why |\n|---|---|---|---|\n");
    for difference in DIFFERENCES {
        row(&mut page, difference, exchanges)?;
    }
    Ok(page)
}

fn row(page: &mut String, difference: &Difference, exchanges: &[Exchange]) -> Result<()> {
    let mut requests = Vec::new();
    let mut statuses = Vec::new();
    for n in difference.exchanges {
        let exchange =
            exchanges.get(usize::from(*n) - 1).context("an exchange that there isn't")?;
        requests.push(format!("{n}: `{} {}` ({})", exchange.method, exchange.path, exchange.title));
        if !statuses.contains(&exchange.status.to_string()) {
            statuses.push(exchange.status.to_string());
        }
    }
    let ours = match &difference.ours {
        Ours::Error(status, message) => format!("{status} `{}`", cell(message)),
        Ours::At(places) => {
            let place = |(at, value): &(&str, &str)| format!("`{}` is `{}`", cell(at), cell(value));
            places.iter().map(place).collect::<Vec<_>>().join("<br>")
        }
    };
    let (requests, statuses) = (requests.join("<br>"), statuses.join(", "));
    writeln!(page, "| {requests} | {statuses} | {ours} | {} |", difference.reason)?;
    Ok(())
}

/// A text as it may stand in a table's code.
fn cell(text: &str) -> String {
    text.replace('\n', " ").replace('`', "'").replace('|', "\\|")
}

#[test]
fn the_page_is_made_from_the_table() -> Result<()> {
    let page = page(&recorded()?)?;
    if std::env::var_os(WRITE).is_some() {
        std::fs::write(PATH, &page)?;
    }
    let written = std::fs::read_to_string(PATH).unwrap_or_default();
    ensure!(written == page, "docs/rest-differences.md is out of date; {WRITE}=1 makes it anew");
    Ok(())
}
