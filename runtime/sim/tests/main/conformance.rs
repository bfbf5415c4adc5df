//! The conformance suite on the simulation.

use std::sync::Arc;

use towpath_broker::store::MemoryStore;
use towpath_broker::{EveryNth, LocalCluster, Options};
use towpath_core::ports::Cluster;
use towpath_sdk::clock::TokioClock;
use towpath_sim::{EPOCH, Faults, SimCluster, conformance};

use crate::seeds::for_each_seed;

#[tokio::test(start_paused = true)]
async fn the_broker_conforms() {
    let clock = Arc::new(TokioClock::starting_at(EPOCH));
    let store = Arc::new(MemoryStore::default());
    let quirks = Arc::new(EveryNth::new(3));
    let cluster: Arc<dyn Cluster> =
        Arc::new(LocalCluster::open(store, Options::default(), quirks, clock).unwrap());
    conformance::run_all(&cluster, "c").await.unwrap();
}

#[test]
fn the_simulation_conforms_while_nothing_fails() {
    for_each_seed(20, |seed| async move {
        for faults in [Faults::none(), Faults::slow()] {
            let cluster: Arc<dyn Cluster> = SimCluster::new(seed, faults);
            conformance::run_all(&cluster, "c").await.unwrap();
        }
    });
}
