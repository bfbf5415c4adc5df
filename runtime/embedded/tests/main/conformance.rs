//! The conformance suite on the embedded log.

use std::sync::Arc;
use std::time::Duration;

use towpath_core::ports::Cluster;
use towpath_embedded::{EmbeddedOptions, Fsync};
use towpath_sim::conformance;

use crate::reopened;

#[tokio::test]
async fn it_conforms_and_does_so_again_on_what_it_left() {
    let directory = tempfile::tempdir().unwrap();
    for (round, fsync) in [Fsync::Never, Fsync::Always, Fsync::Interval(Duration::from_millis(5))]
        .into_iter()
        .enumerate()
    {
        let options = EmbeddedOptions { fsync, ..EmbeddedOptions::default() };
        let cluster: Arc<dyn Cluster> = Arc::new(reopened(directory.path(), options).await);
        let checks = conformance::all().into_iter().map(|check| {
            let cluster = Arc::clone(&cluster);
            async move { check.run(cluster, &format!("round-{round}")).await }
        });
        let failed: Vec<_> =
            futures::future::join_all(checks).await.into_iter().filter_map(Result::err).collect();
        assert!(failed.is_empty(), "fsync={fsync}: {failed:#?}");
    }
}
