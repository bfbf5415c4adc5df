//! Planners: what decides a connector's tasks.
//!
//! Duty: a sink's tasks are all alike; a source plans its own, in its home.
//!
//! Invariant: a planner that does not give its thread back fails for good, with the reason.

use std::num::NonZeroU32;
use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use towpath_sdk::config::Properties;
use towpath_sdk::context::ConnectorContext;
use towpath_sdk::plugin::ConnectorPlugin;
use towpath_sdk::plugin::erased::DynSourceConnector;
use towpath_sdk::{Error, ErrorKind, Result};

use super::{Engine, Prepared, tell_of_outdated_keys};
use crate::herder::launcher::Planner;
use crate::home::{Home, Lent, Tenant};
use crate::offsets::Followed;
use crate::task::status::{Activity, StatusCell, TaskView};

impl Engine {
    /// Starts the planner of connector `name`.
    pub(super) async fn start_planner(
        self,
        name: Arc<str>,
        properties: Properties,
    ) -> Result<Box<dyn Planner>> {
        let properties = self.resolve(&properties)?;
        let home = self.0.homes.of(&name)?;
        let parts = self.planner_host(&name, home.place());
        let tenant = parts.tenant();
        let Prepared { blueprint, settings, filled, .. } =
            unless_lost(&home, &tenant, self.prepare(&parts, &properties)).await?;
        tell_of_outdated_keys(&name, &blueprint.plugin, &properties);
        let max = u32::try_from(blueprint.common.tasks_max).ok().and_then(NonZeroU32::new);
        let max = max.unwrap_or(NonZeroU32::MIN);
        let enforce = blueprint.common.tasks_max_enforce;
        let ConnectorPlugin::Source(plugin) = &blueprint.plugin else {
            return Ok(Box::new(SinkPlanner { tasks: max }));
        };
        let offsets = self.0.own_offsets.of(blueprint.offsets_topic()).await?;
        let host = Arc::new(self.host(parts, &settings, &offsets.store));
        let cx = ConnectorContext::new(Arc::clone(&name), host);
        let place = home.place();
        let starting = place.run(&tenant, "start", plugin.start(filled, cx));
        let connector = unless_lost(&home, &tenant, starting).await?;
        let connector = Lent::new(place, tenant.clone(), connector);
        Ok(Box::new(SourcePlanner {
            name,
            connector,
            tenant,
            home,
            _offsets: offsets,
            max,
            enforce,
        }))
    }
}

/// What `future` gives, unless the planner's home is given up meanwhile, or the planner does not give
/// its thread back. It has failed for good then: another try would hold another thread.
async fn unless_lost<T>(
    home: &Home,
    planner: &Tenant,
    future: impl Future<Output = Result<T>>,
) -> Result<T> {
    tokio::select! {
        biased;
        result = future => result,
        loss = home.lost() => {
            loss.judge(&planner.who)?;
            Err(Error::new(ErrorKind::Unsupported, loss.reason))
        }
        reason = stuck(home, &planner.status) => Err(Error::new(ErrorKind::Unsupported, reason)),
    }
}

/// Resolves when the watch has complained for so long that a home would be given up.
async fn stuck(home: &Home, status: &StatusCell) -> String {
    let mut views = status.watch();
    loop {
        let complains = |view: &TaskView| matches!(view.activity, Activity::Waiting { .. });
        let Ok(_complaint) = views.wait_for(complains).await.map(drop) else {
            return std::future::pending().await;
        };
        tokio::time::sleep(home.patience().loss).await;
        if let Activity::Waiting { reason, .. } = status.view().activity {
            return reason;
        }
    }
}

struct SinkPlanner {
    tasks: NonZeroU32,
}

impl Planner for SinkPlanner {
    fn plan(&mut self) -> BoxFuture<'_, Result<Vec<Properties>>> {
        let shares = vec![Properties::new(); self.tasks.get() as usize];
        std::future::ready(Ok(shares)).boxed()
    }

    fn changed(&mut self) -> BoxFuture<'_, Result<()>> {
        std::future::pending().boxed()
    }
}

struct SourcePlanner {
    name: Arc<str>,
    connector: Lent<Box<dyn DynSourceConnector>>,
    tenant: Tenant,
    home: Arc<Home>,
    _offsets: Arc<Followed>,
    max: NonZeroU32,
    enforce: bool,
}

impl Planner for SourcePlanner {
    fn plan(&mut self) -> BoxFuture<'_, Result<Vec<Properties>>> {
        async move {
            let max = self.max;
            let planning = self.connector.call("plan", move |connector| connector.plan(max));
            let shares = unless_lost(&self.home, &self.tenant, planning).await?;
            let (planned, max) = (shares.len(), self.max.get());
            if planned > max as usize {
                let text = format!(
                    "The connector {} has generated {planned} tasks, which is greater than {max}, the \
                     maximum number of tasks it is configured to create.",
                    self.name
                );
                if self.enforce {
                    return Err(Error::config(text));
                }
                tracing::warn!("{text}");
            }
            Ok(shares)
        }
        .boxed()
    }

    fn changed(&mut self) -> BoxFuture<'_, Result<()>> {
        let changed = self.connector.call("watch for changes", |connector| connector.changed());
        unless_lost(&self.home, &self.tenant, changed).boxed()
    }
}
