//! `/connector-plugins`.

use axum::Json;
use axum::extract::{Path, RawQuery, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use towpath_core::describe;
use towpath_formats::messages;
use towpath_formats::rest::{PluginInfo, PluginType};
use towpath_sdk::config::{ConfigDef, Properties};
use towpath_sdk::plugin::{self, PluginKind, Registry};

use super::Shared;
use crate::body::Body;
use crate::error::ApiError;

pub(super) async fn list(State(shared): State<Shared>, RawQuery(query): RawQuery) -> Response {
    let all =
        query.as_deref().unwrap_or_default().split('&').any(|pair| pair == "connectorsOnly=false");
    let mut plugins: Vec<PluginInfo> = every(shared.engine.registry())
        .into_iter()
        .filter(|(kind, _)| all || matches!(kind, PluginKind::Source | PluginKind::Sink))
        .flat_map(|(kind, info)| {
            info.names.iter().map(move |name| plugin_info(kind, name.name, info.version))
        })
        .collect();
    plugins.sort_by(|a, b| (rank(a.kind), &a.class_name).cmp(&(rank(b.kind), &b.class_name)));
    Json(plugins).into_response()
}

fn every(registry: &Registry) -> Vec<(PluginKind, plugin::PluginInfo)> {
    let mut every = Vec::new();
    every.extend(registry.connectors().iter().map(|p| (p.kind(), p.info())));
    every.extend(registry.converters().iter().map(|p| (PluginKind::Converter, p.info)));
    every.extend(registry.header_converters().map(|p| (PluginKind::HeaderConverter, p.info)));
    every.extend(registry.transforms().iter().map(|p| (PluginKind::Transformation, p.info)));
    every.extend(registry.predicates().iter().map(|p| (PluginKind::Predicate, p.info)));
    every
}

fn plugin_info(kind: PluginKind, name: &str, version: &str) -> PluginInfo {
    PluginInfo {
        class_name: name.to_owned(),
        kind: match kind {
            PluginKind::Sink => PluginType::Sink,
            PluginKind::Source => PluginType::Source,
            PluginKind::Converter => PluginType::Converter,
            PluginKind::HeaderConverter => PluginType::HeaderConverter,
            PluginKind::Transformation => PluginType::Transformation,
            PluginKind::Predicate => PluginType::Predicate,
        },
        version: Some(version.to_owned()),
    }
}

fn rank(kind: PluginType) -> u8 {
    match kind {
        PluginType::Sink => 0,
        PluginType::Source => 1,
        PluginType::Transformation => 2,
        PluginType::Predicate => 3,
        PluginType::Converter => 4,
        PluginType::HeaderConverter => 5,
    }
}

pub(super) async fn definition(
    State(shared): State<Shared>,
    Path(name): Path<String>,
) -> Result<Response, ApiError> {
    let registry = shared.engine.registry();
    if let Some((plugin, name)) = registry.find_connector(&name) {
        return Ok(Json(describe::connector_key_infos(plugin, name)).into_response());
    }
    let definition = find(registry, &name).ok_or_else(|| unknown(&name))?;
    Ok(Json(describe::key_infos(definition)).into_response())
}

fn unknown(name: &str) -> ApiError {
    ApiError::new(StatusCode::NOT_FOUND, messages::unknown_plugin(name))
}

/// The keys of a part of a chain. Those of connectors are more than their own.
fn find<'r>(registry: &'r Registry, name: &str) -> Option<&'r ConfigDef> {
    if let Some(plugin) = registry.find_header_converter(name) {
        return Some((plugin.definition)());
    }
    if let Some(plugin) = registry.find_transform(name) {
        return Some((plugin.definition)());
    }
    registry.find_predicate(name).map(|plugin| (plugin.definition)())
}

pub(super) async fn validate(
    State(shared): State<Shared>,
    Path(name): Path<String>,
    Body(config): Body<towpath_formats::Properties>,
) -> Result<Response, ApiError> {
    let registry = shared.engine.registry();
    let Some((_, asked)) = registry.find_connector(&name) else { return Err(unknown(&name)) };
    let config: Properties = config.into_iter().collect();
    let Some(class) = config.get("connector.class").map(str::trim).filter(|c| !c.is_empty()) else {
        let plain: towpath_formats::Properties =
            config.iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect();
        return Err(ApiError::bad_request(messages::no_connector_class(&plain)));
    };
    // Connect compares the ends of the texts, so a simple name may only stand in the path.
    let bare = |name: &str| name.strip_suffix("Connector").unwrap_or(name).to_owned();
    let found = registry.find_connector(class);
    if !bare(class).ends_with(&bare(&name)) || found.is_some_and(|(_, f)| f.name != asked.name) {
        return Err(ApiError::bad_request(messages::plugin_mismatch(class, &name)));
    }
    let engine = shared.engine.clone();
    let infos = tokio::task::spawn_blocking(move || engine.config_infos(&config)).await;
    let infos = infos.map_err(|_| {
        ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "validating the configuration failed")
    })?;
    Ok(Json(infos).into_response())
}
