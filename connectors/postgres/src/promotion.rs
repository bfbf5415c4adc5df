//! A standby that is promoted while it is read.
//!
//! Duty: notice it before an offset says the wrong timeline. A stream from a standby goes on over the
//! promotion without a word, on another timeline than the one that the connection was told of. What has
//! come while the server is still in recovery was replayed, and so it is before the point at which the
//! new timeline begins. So this is asked after changes have come and before they are handed over: a
//! round trip for each piece, on standbys only.

use tokio_postgres::Client;
use towpath_sdk::{Error, ErrorKind, Result};

use crate::client::failed;

/// Sees that the server is still a standby.
///
/// # Errors
/// If it was promoted (what has come since the last piece is read again then, on the new timeline), or
/// can't be asked.
pub(crate) async fn none_yet(client: &Client) -> Result<()> {
    let failed = |error| failed("ask whether the server is still a standby", error);
    let row = client.query_one("select pg_catalog.pg_is_in_recovery()", &[]).await;
    match row.map_err(failed)?.try_get(0).map_err(failed)? {
        true => Ok(()),
        false => Err(Error::new(
            ErrorKind::Unavailable,
            "the standby was promoted; reading is begun anew on its timeline",
        )),
    }
}
