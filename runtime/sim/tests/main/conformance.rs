//! The conformance suite on the simulation.

use std::sync::Arc;

use towpath_broker::store::MemoryStore;
use towpath_broker::{EveryNth, LocalCluster, Options};
use towpath_core::ports::Cluster;
use towpath_sdk::clock::{Timestamp, TokioClock};
use towpath_sim::conformance;

#[tokio::test(start_paused = true)]
async fn the_broker_conforms() {
    let clock = Arc::new(TokioClock::starting_at(Timestamp(1_700_000_000_000)));
    let store = Arc::new(MemoryStore::default());
    let cluster: Arc<dyn Cluster> = Arc::new(
        LocalCluster::open(store, Options::default(), Arc::new(EveryNth::new(3)), clock).unwrap(),
    );
    conformance::run_all(&cluster, "c").await.unwrap();
}
