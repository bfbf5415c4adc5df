//! The OpenAPI document, made from the table of routes, so that no route is missing in it.

use serde_json::{Map, Value, json};

use crate::routes::ROUTES;

/// What each operation is for: path, method, summary, codes of success.
const OPERATIONS: &[(&str, &str, &str, &str)] = &[
    ("/", "GET", "Version and cluster of this worker", "200"),
    ("/health", "GET", "Whether this worker is ready (KIP-1017)", "200"),
    ("/connectors", "GET", "Names of connectors; with expand, their status and info", "200"),
    ("/connectors", "POST", "Create a connector", "201"),
    ("/connectors/{connector}", "GET", "Config and tasks of a connector", "200"),
    (
        "/connectors/{connector}",
        "DELETE",
        "Delete a connector; its offsets stay, and so does what Towpath-Leftover headers name",
        "204",
    ),
    ("/connectors/{connector}/config", "GET", "Config of a connector, with its ETag", "200"),
    (
        "/connectors/{connector}/config",
        "PUT",
        "Create or replace a config; honours If-Match",
        "200",
    ),
    (
        "/connectors/{connector}/config",
        "PATCH",
        "Merge into a config; null removes (KIP-477)",
        "200",
    ),
    ("/connectors/{connector}/status", "GET", "States of a connector and its tasks", "200"),
    (
        "/connectors/{connector}/restart",
        "POST",
        "Restart a connector and its tasks (KIP-745)",
        "202",
    ),
    ("/connectors/{connector}/pause", "PUT", "Pause a connector", "202"),
    ("/connectors/{connector}/resume", "PUT", "Resume a connector", "202"),
    ("/connectors/{connector}/stop", "PUT", "Stop a connector (KIP-875)", "204"),
    ("/connectors/{connector}/fence", "PUT", "Internal to fleets on the JVM; refused", "400"),
    ("/connectors/{connector}/tasks", "GET", "Tasks with their configs", "200"),
    ("/connectors/{connector}/tasks", "POST", "Internal to fleets on the JVM; refused", "400"),
    ("/connectors/{connector}/tasks/{task}/status", "GET", "State of a task", "200"),
    ("/connectors/{connector}/tasks/{task}/restart", "POST", "Restart a task", "204"),
    ("/connectors/{connector}/topics", "GET", "Topics that a connector has used (KIP-558)", "200"),
    ("/connectors/{connector}/topics/reset", "PUT", "Forget them", "202"),
    ("/connectors/{connector}/offsets", "GET", "Offsets of a connector (KIP-875)", "200"),
    ("/connectors/{connector}/offsets", "PATCH", "Alter offsets of a stopped connector", "200"),
    ("/connectors/{connector}/offsets", "DELETE", "Reset offsets of a stopped connector", "200"),
    ("/connector-plugins", "GET", "Plug-ins; with connectorsOnly=false, all kinds", "200"),
    ("/connector-plugins/{plugin}/config", "GET", "Definition of a plug-in's config", "200"),
    ("/connector-plugins/{plugin}/config/validate", "PUT", "Hold a config against it", "200"),
    ("/admin/loggers", "GET", "Levels of loggers", "200"),
    ("/admin/loggers/{logger}", "GET", "Level of a logger", "200"),
    ("/admin/loggers/{logger}", "PUT", "Set a level; scope is worker or cluster", "200"),
    ("/metrics", "GET", "Measurements for Prometheus", "200"),
    ("/openapi.json", "GET", "This document", "200"),
    ("/towpath/v1/worker", "GET", "Health and load of this worker", "200"),
    (
        "/towpath/v1/connectors/{connector}/status",
        "GET",
        "What each task does and why it waits, its guarantee, lag and restarts",
        "200",
    ),
    (
        "/towpath/v1/connectors/{connector}/signals",
        "POST",
        "Signals something to the running tasks, such as to snapshot a table",
        "202",
    ),
];

/// The document.
pub(crate) fn document() -> Value {
    let mut paths = Map::new();
    for (path, methods) in ROUTES {
        let mut item = Map::new();
        let parameters: Vec<Value> = path
            .split('/')
            .filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
            .map(|name| {
                json!({"name": name, "in": "path", "required": true, "schema": {"type": "string"}})
            })
            .collect();
        if !parameters.is_empty() {
            item.insert("parameters".to_owned(), Value::Array(parameters));
        }
        for method in *methods {
            let known = OPERATIONS.iter().find(|(p, m, _, _)| p == path && m == method);
            let (summary, code) = known.map_or(("", "200"), |(_, _, s, c)| (*s, *c));
            let mut operation = json!({
                "summary": summary,
                "responses": {
                    code: {"description": "success"},
                    "default": {"$ref": "#/components/responses/Error"},
                },
            });
            if matches!(*method, "POST" | "PUT" | "PATCH") {
                operation["requestBody"] = json!({
                    "content": {"application/json": {"schema": {"type": "object"}}},
                });
            }
            item.insert(method.to_lowercase(), operation);
        }
        paths.insert((*path).to_owned(), Value::Object(item));
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Towpath",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Kafka Connect's REST API, and what Towpath adds under /towpath/v1/",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "components": {
            "responses": {
                "Error": {
                    "description": "an error",
                    "content": {"application/json": {"schema": {
                        "type": "object",
                        "required": ["error_code", "message"],
                        "properties": {
                            "error_code": {"type": "integer"},
                            "message": {"type": "string"},
                        },
                    }}},
                },
            },
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_route_has_words_and_every_word_a_route() {
        for (path, methods) in ROUTES {
            for method in *methods {
                let known =
                    OPERATIONS.iter().any(|(p, m, s, _)| p == path && m == method && !s.is_empty());
                assert!(known, "{method} {path} is not described");
            }
        }
        for (path, method, _, _) in OPERATIONS {
            let routed = ROUTES.iter().any(|(p, methods)| p == path && methods.contains(method));
            assert!(routed, "{method} {path} is not routed");
        }
    }
}
