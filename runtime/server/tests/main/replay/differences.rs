//! Where we answer otherwise than Kafka Connect, deliberately, and why.
//!
//! `docs/rest-differences.md` is made from this table. An entry that no longer holds fails the replay, as does
//! a difference that has no entry.

use super::compare::Found;

/// A deliberate difference.
pub(super) struct Difference {
    /// The numbers of the exchanges that show it.
    pub(super) exchanges: &'static [u16],
    /// What we answer instead.
    pub(super) ours: Ours,
    /// Why.
    pub(super) reason: &'static str,
}

/// What we answer instead. A `*` in a pattern stands for anything.
pub(super) enum Ours {
    /// An error with this status, and a message of this pattern.
    Error(u16, &'static str),
    /// At each place of the pattern, a value of which the JSON text has this pattern; `absent` is none.
    At(&'static [(&'static str, &'static str)]),
}

impl Difference {
    /// Which of the entry's places covers what was found in one of its exchanges, if any does.
    pub(super) fn covers(&self, found: &Found) -> Option<usize> {
        let ours = found.ours.as_ref().map_or_else(|| "absent".to_owned(), ToString::to_string);
        match &self.ours {
            Ours::Error(status, message) => Some(0).filter(|_| match found.at.as_str() {
                "status" | "body/error_code" => ours == status.to_string(),
                "content-type" => ours == "\"application/json\"",
                "body/message" => found
                    .ours
                    .as_ref()
                    .and_then(|v| v.as_str())
                    .is_some_and(|text| fits(message, text)),
                // Where Connect answers no error, or none in JSON, the bodies have nothing in common.
                "body" => found.ours.as_ref().is_some_and(|body| {
                    body["error_code"] == *status
                        && body["message"].as_str().is_some_and(|text| fits(message, text))
                }),
                at => at.starts_with("body/") && found.ours.is_none(),
            }),
            Ours::At(places) => {
                places.iter().position(|(at, value)| fits(at, &found.at) && fits(value, &ours))
            }
        }
    }
}

impl Ours {
    /// How many places the entry has, each of which must show in one of its exchanges.
    pub(super) fn places(&self) -> usize {
        match self {
            Self::Error(..) => 1,
            Self::At(places) => places.len(),
        }
    }
}

/// Whether `text` has the pattern: its parts between `*` in this order, the first and last at the ends.
pub(super) fn fits(pattern: &str, text: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(mut text) = text.strip_prefix(first) else { return false };
    let mut parts: Vec<&str> = rest.split('*').collect();
    let last = parts.pop().unwrap_or_default();
    for part in parts {
        match text.find(part) {
            Some(at) => text = &text[at + part.len()..],
            None => return false,
        }
    }
    text.ends_with(last)
}

/// All of them.
pub(super) const DIFFERENCES: &[Difference] = &[
    // ---- A client's mistake is not the worker's failure ----
    Difference {
        exchanges: &[8, 9, 76, 113, 144],
        ours: Ours::Error(400, "the request body is not as it must be: * at line * column *"),
        reason: "What cannot be read as JSON is the client's mistake. Connect blames itself and shows the inside of \
                 its JSON reader.",
    },
    Difference {
        exchanges: &[10],
        ours: Ours::Error(400, "the request needs a JSON body"),
        reason: "Connect falls over the missing body.",
    },
    Difference {
        exchanges: &[11],
        ours: Ours::Error(400, "the request body must be a JSON object"),
        reason: "A list is the client's mistake.",
    },
    Difference {
        exchanges: &[12],
        ours: Ours::Error(
            400,
            "*unknown field `bogus`, expected one of `name`, `config`, `initial_state`*",
        ),
        reason: "An unknown member is the client's mistake, and the answer says which ones there are.",
    },
    Difference {
        exchanges: &[14],
        ours: Ours::Error(
            400,
            "the request must have a 'config': an object with the connector's properties",
        ),
        reason: "Connect falls over the missing config.",
    },
    Difference {
        exchanges: &[32],
        ours: Ours::Error(
            400,
            "*initial_state must be one of RUNNING, PAUSED, STOPPED, not \"FOO\"*",
        ),
        reason: "An unknown state is the client's mistake, and the answer says which ones there are.",
    },
    Difference {
        exchanges: &[110],
        ours: Ours::Error(400, "The topic 't-file' has 1 partitions, but no partition 99"),
        reason: "A partition that there isn't is the client's mistake.",
    },
    Difference {
        exchanges: &[118, 119],
        ours: Ours::At(&[("status", "400"), ("body/error_code", "400")]),
        reason: "An offset that the connector refuses is the client's mistake. The text is Connect's.",
    },
    Difference {
        exchanges: &[142],
        ours: Ours::Error(404, "Unknown plugin NoSuch."),
        reason: "The plug-in of the path is not there, which its other endpoint answers with 404, too.",
    },
    Difference {
        exchanges: &[143],
        ours: Ours::Error(400, "Connector config {} contains no connector type"),
        reason: "A config without a class is the client's mistake, as it is when it creates a connector.",
    },
    // ---- HTTP ----
    Difference {
        exchanges: &[30],
        ours: Ours::Error(409, "Connector file-sink already exists"),
        reason: "A body that is JSON is read as JSON, whatever its content type. (The request creates a connector \
                 that is there, so it is refused for that.)",
    },
    Difference {
        exchanges: &[42, 49, 60, 70, 160],
        ours: Ours::At(&[("content-type", "\"application/json\"")]),
        reason: "The body is JSON and says so. Connect leaves the type out where no endpoint saw the request.",
    },
    Difference {
        exchanges: &[71, 72],
        ours: Ours::At(&[("content-type", "\"application/json\""), ("allow", "\"GET,HEAD,POST\"")]),
        reason: "With this status HTTP requires the methods that the path has (RFC 9110, section 15.5.6).",
    },
    Difference {
        exchanges: &[128],
        ours: Ours::At(&[("location", "\"http://127.0.0.1:18083/connectors/a%2Fb\"")]),
        reason: "An address must lead to the connector. Connect's leads elsewhere if the name has a slash.",
    },
    Difference {
        exchanges: &[129],
        ours: Ours::At(&[
            ("status", "200"),
            ("content-type", "\"application/json\""),
            ("body", "{\"name\":\"a/b\",\"connector\":{\"state\":\"RUNNING\",*"),
        ]),
        reason: "A connector whose name has a slash can be created, so it can be reached, too.",
    },
    Difference {
        exchanges: &[130],
        ours: Ours::At(&[("status", "204")]),
        reason: "A connector whose name has a slash can be created, so it can be deleted, too.",
    },
    Difference {
        exchanges: &[161],
        ours: Ours::At(&[(
            "body",
            r#"["failing","file-sink","file-source","init-stopped","moved"]"#,
        )]),
        reason: "The connector a/b is gone, since it could be deleted.",
    },
    Difference {
        exchanges: &[168],
        ours: Ours::At(&[("body", "[]")]),
        reason: "The connector a/b is gone, since it could be deleted.",
    },
    // ---- Texts ----
    Difference {
        exchanges: &[19],
        ours: Ours::Error(
            400,
            "Failed to find any class that implements Connector and which name matches *, \
                                available connectors are: PluginDesc{name='*",
        ),
        reason: "The connectors there are are ours, and files have no place in their description.",
    },
    Difference {
        exchanges: &[22],
        ours: Ours::Error(
            400,
            "*the following 1 error(s):\nInvalid value abc for configuration tasks.max: Not a number \
                                of type INT\nYou can also find *",
        ),
        reason: "Connect's second error, that null is out of range, follows from the first and helps nobody.",
    },
    Difference {
        exchanges: &[27],
        ours: Ours::Error(
            400,
            "*configuration exactly.once.support: String must be one of (case insensitive): \
                                requested, required\n*",
        ),
        reason: "The values are listed as the documentation writes them.",
    },
    // ---- Plug-ins ----
    Difference {
        exchanges: &[41, 48],
        ours: Ours::At(&[("body/*/config/task.class", "absent")]),
        reason: "A task has no class here.",
    },
    Difference {
        exchanges: &[131, 132],
        ours: Ours::At(&[
            ("body/*", "{\"class\":*}"),
            ("body/io.debezium.*", "absent"),
            ("body/org.apache.kafka.connect.mirror.*", "absent"),
            ("body/org.apache.kafka.connect.transforms.*", "absent"),
        ]),
        reason: "The plug-ins there are are ours. Those of Debezium, MirrorMaker and most transforms are not there yet.",
    },
    Difference {
        exchanges: &[133, 134],
        ours: Ours::At(&[
            ("body/connector.plugin.version/default_value", "\"*\""),
            ("body/towpath.*", "{\"name\":\"towpath.*"),
            ("body/errors.deadletterqueue.*", "{\"name\":\"errors.deadletterqueue.*"),
        ]),
        reason: "Versions are those of our plug-ins. Connectors have settings more than Connect's: those that begin \
                 with towpath, and the dead letter queue of sources.",
    },
    Difference {
        exchanges: &[136],
        ours: Ours::Error(
            404,
            "Unknown plugin org.apache.kafka.connect.transforms.InsertField$Value.",
        ),
        reason: "The transform is not there yet.",
    },
    Difference {
        exchanges: &[138, 141, 171, 172, 173],
        ours: Ours::At(&[
            ("body/configs/*plugin.version/*", "\"*\""),
            ("body/configs/*plugin.version/value/recommended_values", "[\"*\"]"),
        ]),
        reason: "Versions are those of our plug-ins.",
    },
    Difference {
        exchanges: &[138, 141, 171, 172, 173],
        ours: Ours::At(&[("body/configs/*/value/recommended_values", "[*]")]),
        reason: "The classes to choose from are ours, and each stands there once.",
    },
    Difference {
        exchanges: &[138, 141, 171, 172, 173],
        ours: Ours::At(&[
            ("body/configs/towpath.*", "{\"definition\":{\"name\":\"towpath.*"),
            (
                "body/configs/errors.deadletterqueue.*",
                "{\"definition\":{\"name\":\"errors.deadletterqueue.*",
            ),
        ]),
        reason: "Connectors have settings more than Connect's: those that begin with towpath, and the dead letter \
                 queue of sources.",
    },
    Difference {
        exchanges: &[141],
        ours: Ours::At(&[
            ("body/error_count", "2"),
            ("body/configs/transforms.ins.type/value/errors", "[\"*Class * could not be found.\"]"),
            ("body/configs/transforms.ins.type/value/value", "null"),
            ("body/configs/transforms.ins.plugin.version/*", "*"),
            ("body/configs/transforms.ins.predicate/definition/order_in_group", "3"),
            ("body/configs/transforms.ins.*", "absent"),
        ]),
        reason: "The transform InsertField is not there yet.",
    },
    Difference {
        exchanges: &[141],
        ours: Ours::At(&[(
            "body/configs/predicates.p.pattern/value/errors",
            "[\"Invalid value ( for configuration predicates.p.pattern: Invalid regex: *\"]",
        )]),
        reason: "The error names the setting as the config does, and the reader of regular expressions is ours.",
    },
    Difference {
        exchanges: &[145],
        ours: Ours::At(&[
            ("body/groups", "[*]"),
            ("body/configs/*", "{\"definition\":{\"name\":\"*"),
        ]),
        reason: "Debezium's keys are described in our words and groups; of its own descriptions only the first was kept, and how many keys are in error.",
    },
    Difference {
        exchanges: &[146],
        ours: Ours::Error(404, "Unknown plugin io.debezium.connector.*."),
        reason: "The connector is not there yet.",
    },
    // ---- Loggers ----
    Difference {
        exchanges: &[147, 156],
        ours: Ours::At(&[
            ("body/towpath_*", "{\"level\":*}"),
            ("body/org.apache.kafka.*", "{\"level\":*}"),
            ("body/io.debezium.*", "absent"),
            ("body/org.apache.kafka.connect.runtime.*", "absent"),
        ]),
        reason: "The loggers there are are ours, and those of the Java names that stand for them.",
    },
];

#[test]
fn patterns() {
    assert!(fits("a*c", "abbc") && fits("a*", "a") && fits("*", "") && fits("a*b*c", "axbyc"));
    assert!(
        !fits("a*c", "abcd") && !fits("a", "ab") && !fits("a*b*c", "acb") && !fits("ab*ba", "aba")
    );
}
