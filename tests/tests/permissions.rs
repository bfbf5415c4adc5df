//! `docs/permissions.md` shows the list that the fault suite grants.

use std::path::Path;

use anyhow::{Context, Result, ensure};

const BEGIN: &str = "<!-- generated: tables -->\n";
const END: &str = "<!-- end -->";

/// With `UPDATE_DOCS=1` the page is written anew.
#[test]
fn the_page_shows_what_is_granted() -> Result<()> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/permissions.md");
    let text = std::fs::read_to_string(&page)?;
    let (before, rest) = text.split_once(BEGIN).context("the page has no place for the tables")?;
    let (shown, after) = rest.split_once(END).context("the place has no end")?;
    let expect = format!("\n{}\n", towpath_tests::permissions::tables());
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&page, format!("{before}{BEGIN}{expect}{END}{after}"))?;
        return Ok(());
    }
    ensure!(
        shown == expect,
        "docs/permissions.md is out of date: run this test with UPDATE_DOCS=1"
    );
    Ok(())
}
