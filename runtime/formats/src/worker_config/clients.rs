//! Which Kafka client gets which of a worker's properties.
//!
//! As in Connect: the worker's own clients get the properties without a prefix; connectors' producers
//! and consumers get only those with `producer.` and `consumer.`; connectors' admin clients get those
//! without a prefix and then those with `admin.`. All get `bootstrap.servers`.

use super::no_effect;
use crate::client_properties::is_known;
use crate::{ClientRole, Properties};

/// Properties of Kafka clients, by whose client it is. Values are raw: translate them with
/// [`crate::client_properties::translate`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientMaps {
    unprefixed: Properties,
    producer: Properties,
    consumer: Properties,
    admin: Properties,
}

impl ClientMaps {
    /// Sorts a worker's properties. With `tls_listener` the `ssl.` properties without a prefix may be
    /// the listener's, and are a client's only if its protocol uses TLS.
    pub(super) fn new(worker: &Properties, tls_listener: bool) -> Self {
        let protocol = worker.text("security.protocol").unwrap_or("PLAINTEXT").to_ascii_uppercase();
        let listeners_only = tls_listener && !protocol.contains("SSL");
        let clients = |key: &str| {
            let any = ClientRole::ALL.into_iter().any(|role| is_known(key, role));
            let listeners = listeners_only && key.starts_with("ssl.");
            any && !no_effect::is_workers_own(key) && !listeners
        };
        let unprefixed: Properties = worker
            .iter()
            .filter(|(key, _)| clients(key))
            .map(|(k, v)| (k.clone(), v.clone()))
            .collect();
        let prefixed = |role: ClientRole| {
            let mut map = Properties::new();
            map.extend(
                unprefixed.get_key_value("bootstrap.servers").map(|(k, v)| (k.clone(), v.clone())),
            );
            map.extend(worker.with_prefix(role.worker_prefix()));
            map
        };
        let mut admin = unprefixed.clone();
        // The REST listener for /admin has the same prefix by chance.
        let own = prefixed(ClientRole::Admin).into_iter();
        admin.extend(own.filter(|(key, _)| key != "listeners" && !key.starts_with("listeners.")));
        Self {
            producer: prefixed(ClientRole::Producer),
            consumer: prefixed(ClientRole::Consumer),
            admin,
            unprefixed,
        }
    }

    /// Of the worker's own clients (internal topics, membership).
    pub fn of_worker(&self, role: ClientRole) -> Properties {
        known(&self.unprefixed, role)
    }

    /// Of connectors' clients, before their own overrides.
    pub fn of_connectors(&self, role: ClientRole) -> Properties {
        match role {
            ClientRole::Producer => self.producer.clone(),
            ClientRole::Consumer => self.consumer.clone(),
            // What has no prefix is also for the worker's producers and consumers.
            ClientRole::Admin => {
                let foreign = |key: &str| self.unprefixed.contains_key(key) && !is_known(key, role);
                let own = self.admin.iter().filter(|(key, _)| !foreign(key));
                own.map(|(k, v)| (k.clone(), v.clone())).collect()
            }
        }
    }

    /// Of one connector's clients: with its `producer.override.*` and so on. Whether it may override
    /// is the override policy's to say.
    pub fn of_connector(&self, role: ClientRole, connector: &Properties) -> Properties {
        let mut map = self.of_connectors(role);
        map.extend(connector.with_prefix(role.override_prefix()));
        map
    }
}

fn known(map: &Properties, role: ClientRole) -> Properties {
    map.iter().filter(|(key, _)| is_known(key, role)).map(|(k, v)| (k.clone(), v.clone())).collect()
}
