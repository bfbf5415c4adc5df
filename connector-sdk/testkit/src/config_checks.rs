//! What every connector's configuration must hold to.

use std::fmt::Debug;

use towpath_sdk::config::{
    ConfigKey, ConnectorConfig, FieldErrors, FieldType, Properties, testing,
};
use towpath_sdk::plugin::PluginInfo;

use crate::stage::Problem;

const CANARY: &str = "canary-4c1d-of-the-testkit";

/// The plug-in is named and described, and every key is documented and has a default that is
/// accepted, under each of its names.
pub(crate) fn definition<C: ConnectorConfig>(info: PluginInfo) -> Result<(), Problem> {
    let mut problems = testing::problems_of::<C>();
    if info.names.is_empty() {
        problems.push("the plug-in has no name".to_owned());
    }
    for (what, text) in [("version", info.version), ("summary", info.summary)] {
        if text.trim().is_empty() {
            problems.push(format!("the plug-in has no {what}"));
        }
    }
    for name in info.names {
        for (key, _) in name.defaults {
            if C::definition().resolve(key).is_none() {
                problems.push(format!("{} has a default for {key}, which is no key", name.name));
            }
        }
        let defaults = C::parse(&name.defaults.iter().copied().collect()).err().unwrap_or_default();
        let refused = defaults.iter().filter(|error| !error.is_missing());
        problems.extend(refused.map(|error| format!("{} has a bad default: {error}", name.name)));
    }
    if problems.is_empty() { Ok(()) } else { Err(problems.join("; ")) }
}

/// Everything that is wrong is said at once: each required key that is missing, each number and
/// boolean that is none.
pub(crate) fn wrong_config<C: ConnectorConfig>(good: &Properties) -> Result<(), Problem> {
    let keys = || C::definition().keys.iter().filter(|key| key.prefix().is_none());
    let says_all = |case: &str, errors: FieldErrors, wrong: Vec<&ConfigKey>| match wrong
        .into_iter()
        .find(|key| errors.of(&key.name).next().is_none())
    {
        Some(silent) => {
            Err(format!("{case}: no error names {}; there were: {errors}", silent.name))
        }
        None => Ok(()),
    };
    let missing = C::parse(&Properties::new()).err().unwrap_or_default();
    says_all("nothing is set", missing, keys().filter(|key| key.required).collect())?;
    let typed: Vec<&ConfigKey> = keys().filter(|key| is_typed(key.kind)).collect();
    let mut wrong = good.clone();
    for key in &typed {
        for name in std::iter::once(&key.name).chain(&key.aliases) {
            wrong.remove(name);
        }
        wrong.insert(key.name.as_str(), "certainly not");
    }
    let errors = C::parse(&wrong).err().unwrap_or_default();
    says_all("no number is one", errors, typed)
}

const fn is_typed(kind: FieldType) -> bool {
    matches!(
        kind,
        FieldType::Boolean
            | FieldType::Int
            | FieldType::Short
            | FieldType::Long
            | FieldType::Double
    )
}

/// No secret shows in `Debug`, nor in an error.
pub(crate) fn secrets<C: ConnectorConfig + Debug>(good: &Properties) -> Result<(), Problem> {
    let mut told = good.clone();
    let mut wrong = Properties::new();
    for key in &C::definition().keys {
        let name = key.prefix().map_or(key.name.clone(), |prefix| format!("{prefix}canary"));
        if key.is_secret() {
            told.insert(name.as_str(), CANARY);
            wrong.insert(name, CANARY);
        } else {
            wrong.insert(name, "certainly not");
        }
    }
    for (case, properties) in [("a good configuration", &told), ("a wrong configuration", &wrong)] {
        let shown = match C::parse(properties) {
            Ok(config) => format!("{config:?} {config:#?}"),
            Err(errors) => format!("{errors} {errors:?}"),
        };
        if shown.contains(CANARY) {
            return Err(format!("{case} shows a secret: {shown}"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use towpath_sdk::config::{ConfigDef, FieldError, Secret};
    use towpath_sdk::plugin::PluginName;

    use super::*;

    #[derive(Debug, ConnectorConfig)]
    #[expect(dead_code, reason = "only `Debug` reads the fields")]
    struct Good {
        /// The server.
        server: String,
        /// How often.
        #[config(default = 3)]
        times: u32,
        /// Whether at all.
        #[config(default = true)]
        really: bool,
        /// The password.
        password: Option<Secret<String>>,
        /// Headers.
        #[config(prefix = "header.", secret)]
        headers: Properties,
    }

    const INFO: PluginInfo =
        PluginInfo { names: &[PluginName::new("x")], version: "1", summary: "Does things." };

    fn good() -> Properties {
        Properties::from([("server", "s")])
    }

    #[test]
    fn a_good_configuration_passes() {
        assert_eq!(definition::<Good>(INFO), Ok(()));
        assert_eq!(wrong_config::<Good>(&good()), Ok(()));
        assert_eq!(secrets::<Good>(&good()), Ok(()));
    }

    #[test]
    fn a_wrong_definition_is_found() {
        const UNKNOWN: &[PluginName] = &[PluginName::with_defaults("x", &[("tims", "4")])];
        const REFUSED: &[PluginName] = &[PluginName::with_defaults("x", &[("times", "y")])];
        for (info, why) in [
            (PluginInfo { names: &[], ..INFO }, "no name"),
            (PluginInfo { version: "", ..INFO }, "no version"),
            (PluginInfo { summary: " ", ..INFO }, "no summary"),
            (PluginInfo { names: UNKNOWN, ..INFO }, "tims, which is no key"),
            (PluginInfo { names: REFUSED, ..INFO }, "bad default: Invalid value y"),
        ] {
            let problem = definition::<Good>(info).unwrap_err();
            assert!(problem.contains(why), "{problem}");
        }
        let problem = definition::<Broken>(INFO).unwrap_err();
        assert!(problem.contains("times is not documented"), "{problem}");
    }

    #[test]
    fn a_wrong_parser_is_found() {
        let problem = wrong_config::<Broken>(&good()).unwrap_err();
        assert!(problem.contains("no error names really"), "{problem}");
        let problem = wrong_config::<Lazy>(&good()).unwrap_err();
        assert!(problem.contains("nothing is set: no error names server"), "{problem}");
    }

    #[test]
    fn a_shown_secret_is_found() {
        let problem = secrets::<Broken>(&good()).unwrap_err();
        assert!(problem.starts_with("a good configuration shows a secret"), "{problem}");
        let problem = secrets::<Lazy>(&good()).unwrap_err();
        assert!(problem.starts_with("a wrong configuration shows a secret"), "{problem}");
    }

    /// Shows its password, says one error only, and leaves a key undocumented.
    struct Broken(Option<String>);

    impl Debug for Broken {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            write!(f, "Broken({:?})", self.0)
        }
    }

    impl ConnectorConfig for Broken {
        fn definition() -> &'static ConfigDef {
            static DEFINITION: LazyLock<ConfigDef> = LazyLock::new(|| {
                let mut definition = Good::definition().clone();
                definition.keys[1].documentation.clear();
                definition
            });
            &DEFINITION
        }

        fn parse(properties: &Properties) -> Result<Self, FieldErrors> {
            match Good::parse(properties) {
                Ok(_) => Ok(Self(properties.get("password").map(str::to_owned))),
                Err(errors) => Err(errors.into_iter().take(1).collect()),
            }
        }
    }

    /// Misses nothing, and repeats in an error what it was told.
    #[derive(Debug)]
    struct Lazy;

    impl ConnectorConfig for Lazy {
        fn definition() -> &'static ConfigDef {
            Good::definition()
        }

        fn parse(properties: &Properties) -> Result<Self, FieldErrors> {
            match properties.get("times") {
                Some(times) if times.parse::<u32>().is_err() => {
                    let password = properties.get("password");
                    Err(FieldError::invalid("times", password, "so bad").into())
                }
                _ => Ok(Self),
            }
        }
    }
}
