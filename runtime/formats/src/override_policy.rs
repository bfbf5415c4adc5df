//! Which client properties a connector may set for itself (KIP-458, KIP-1188).
//!
//! Invariant: decisions and texts are those of Kafka Connect's four policies.

use crate::finding::FieldError;
use crate::{ClientRole, Properties};

/// The properties that the `Principal` policy allows.
const PRINCIPAL: [&str; 3] = ["security.protocol", "sasl.mechanism", "sasl.jaas.config"];

/// The worker's decision about `producer.override.*`, `consumer.override.*` and `admin.override.*`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum OverridePolicy {
    /// Everything may be overridden (Connect's default since 3.0).
    #[default]
    All,
    /// Nothing may be overridden.
    None,
    /// Only who the client logs in as.
    Principal,
    /// Only the listed properties (without a prefix).
    Allowlist(Vec<String>),
}

impl OverridePolicy {
    /// The policy of that name, short or as Connect's class name. `allowlist` is what
    /// `connector.client.config.override.allowlist` lists. `None` if there is no such policy.
    pub fn from_name(name: &str, allowlist: Vec<String>) -> Option<Self> {
        const PACKAGE: &str = "org.apache.kafka.connect.connector.policy.";
        const SUFFIX: &str = "ConnectorClientConfigOverridePolicy";
        let name = name.strip_prefix(PACKAGE).unwrap_or(name);
        match name.strip_suffix(SUFFIX).unwrap_or(name) {
            "All" => Some(Self::All),
            "None" => Some(Self::None),
            "Principal" => Some(Self::Principal),
            "Allowlist" => Some(Self::Allowlist(allowlist)),
            _ => None,
        }
    }

    /// Connect's name of the policy.
    pub fn name(&self) -> &'static str {
        match self {
            Self::All => "All",
            Self::None => "None",
            Self::Principal => "Principal",
            Self::Allowlist(_) => "Allowlist",
        }
    }

    /// May a connector set this client property (without a prefix)?
    pub fn allows(&self, property: &str) -> bool {
        match self {
            Self::All => true,
            Self::None => false,
            Self::Principal => PRINCIPAL.contains(&property),
            Self::Allowlist(allowed) => allowed.iter().any(|name| name == property),
        }
    }

    /// The overrides of a connector's config that this policy forbids, in Connect's words.
    pub fn check(&self, role: ClientRole, config: &Properties) -> Vec<FieldError> {
        let overrides = config.with_prefix(role.override_prefix());
        let forbidden = overrides.keys().filter(|property| !self.allows(property));
        forbidden
            .map(|property| {
                let problem = format!(
                    "The '{}' policy does not allow '{property}' to be overridden in the connector configuration.",
                    self.name()
                );
                FieldError::new(format!("{}{property}", role.override_prefix()), problem)
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn forbidden(policy: &OverridePolicy) -> Vec<String> {
        let config = Properties::from([
            ("name", "c"),
            ("producer.override.acks", "1"),
            ("producer.override.sasl.jaas.config", "x"),
            ("consumer.override.max.poll.records", "1"),
        ]);
        let errors = ClientRole::ALL.into_iter().flat_map(|role| policy.check(role, &config));
        errors.map(|error| error.field).collect()
    }

    #[test]
    fn each_policy_forbids_what_connects_does() {
        let (acks, jaas, records) = (
            "producer.override.acks",
            "producer.override.sasl.jaas.config",
            "consumer.override.max.poll.records",
        );
        assert!(forbidden(&OverridePolicy::All).is_empty());
        assert_eq!(forbidden(&OverridePolicy::None), [acks, jaas, records]);
        assert_eq!(forbidden(&OverridePolicy::Principal), [acks, records]);
        assert_eq!(forbidden(&OverridePolicy::Allowlist(vec!["acks".into()])), [jaas, records]);
        assert_eq!(forbidden(&OverridePolicy::Allowlist(vec![])), [acks, jaas, records]);
    }

    #[test]
    fn the_text_is_connects() {
        let config = Properties::from([("producer.override.acks", "1")]);
        let error = &OverridePolicy::None.check(ClientRole::Producer, &config)[0];
        let expect = "The 'None' policy does not allow 'acks' to be overridden in the connector configuration.";
        assert_eq!(error.problem, expect);
    }

    #[test]
    fn names_and_class_names_are_known() {
        let class = "org.apache.kafka.connect.connector.policy.PrincipalConnectorClientConfigOverridePolicy";
        assert_eq!(OverridePolicy::from_name(class, vec![]), Some(OverridePolicy::Principal));
        for policy in [OverridePolicy::All, OverridePolicy::None, OverridePolicy::Principal] {
            assert_eq!(OverridePolicy::from_name(policy.name(), vec![]), Some(policy));
        }
        assert_eq!(OverridePolicy::from_name("com.example.Mine", vec![]), None);
    }
}
