//! Schemas in the form that they have in an envelope.

use std::sync::Arc;

use towpath_sdk::json::Node;
use towpath_sdk::schema::{Field, Kind, Schema, SchemaRef};
use towpath_sdk::value::Value;
use towpath_sdk::{Error, Result, Text};

use super::decode::{Rules, integer};

/// The exception of Connect's schema builder.
const BUILDER: &str = "org.apache.kafka.connect.errors.SchemaBuilderException";

/// The schema that `node` describes; `None` for null.
pub(super) fn read(node: &Node, rules: Rules) -> Result<Option<SchemaRef>> {
    if matches!(node, Node::Null) {
        return Ok(None);
    }
    let member = |name| member(node, name);
    let Some(Node::String(kind)) = member("type") else {
        return Err(Error::data("Schema must contain 'type' field"));
    };
    let mut schema = Schema::new(read_kind(kind, node, rules)?);
    schema.optional = matches!(member("optional"), Some(Node::Boolean(true)));
    schema.name = text(member("name")).map(|name| (**name).into());
    schema.doc = text(member("doc")).map(|doc| (**doc).into());
    if let Some(Node::Number(version)) = member("version")
        && !version.contains(['.', 'e', 'E'])
    {
        schema.version = Some(integer(version) as i32);
    }
    if let Some(Node::Object(parameters)) = member("parameters") {
        for (key, value) in parameters {
            let value = text(Some(value))
                .ok_or_else(|| Error::data("Schema parameters must have string values."))?;
            schema.parameters.insert(key.to_string(), value.to_string());
        }
    }
    if let Some(default) = member("default") {
        schema.default = read_default(&schema, default, rules)?;
    }
    Ok(Some(Arc::new(schema)))
}

fn member<'n>(node: &'n Node, name: &str) -> Option<&'n Node> {
    match node {
        Node::Object(members) => members.iter().find(|(key, _)| *key == name).map(|(_, node)| node),
        _ => None,
    }
}

fn text(node: Option<&Node>) -> Option<&Text> {
    match node {
        Some(Node::String(text)) => Some(text),
        _ => None,
    }
}

fn read_kind(kind: &str, node: &Node, rules: Rules) -> Result<Kind> {
    let member = |name| member(node, name);
    Ok(match kind {
        "boolean" => Kind::Boolean,
        "int8" => Kind::Int8,
        "int16" => Kind::Int16,
        "int32" => Kind::Int32,
        "int64" => Kind::Int64,
        "float" => Kind::Float32,
        "double" => Kind::Float64,
        "bytes" => Kind::Bytes,
        "string" => Kind::String,
        "array" => match member("items") {
            None | Some(Node::Null) => {
                return Err(Error::data("Array schema did not specify the element type"));
            }
            Some(items) => Kind::Array(required(items, "valueSchema", rules)?),
        },
        "map" => {
            let keys = member("keys")
                .ok_or_else(|| Error::data("Map schema did not specify the key type"))?;
            let values = member("values")
                .ok_or_else(|| Error::data("Map schema did not specify the value type"))?;
            let (keys, values) = (read(keys, rules)?, read(values, rules)?);
            let null = |what| Error::data(format!("{what} cannot be null.")).with_class(BUILDER);
            Kind::Map(
                keys.ok_or_else(|| null("keySchema"))?,
                values.ok_or_else(|| null("valueSchema"))?,
            )
        }
        "struct" => match member("fields") {
            Some(Node::Array(fields)) => Kind::Struct(read_fields(fields, rules)?),
            _ => {
                return Err(Error::data("Struct schema's \"fields\" argument is not an array."));
            }
        },
        other => return Err(Error::data(format!("Unknown schema type: {other}"))),
    })
}

fn required(node: &Node, what: &str, rules: Rules) -> Result<SchemaRef> {
    read(node, rules)?
        .ok_or_else(|| Error::data(format!("{what} cannot be null.")).with_class(BUILDER))
}

fn read_fields(nodes: &[Node], rules: Rules) -> Result<Vec<Field>> {
    let mut fields: Vec<Field> = Vec::with_capacity(nodes.len());
    let mut names = std::collections::HashSet::with_capacity(nodes.len());
    for node in nodes {
        let name = text(member(node, "field"))
            .ok_or_else(|| Error::data("Struct schema's field name not specified properly"))?;
        let refuse = |why: String| Error::data(why).with_class(BUILDER);
        let schema = required(node, "fieldSchema for field", rules)?;
        if name.is_empty() {
            return Err(refuse("fieldName cannot be null.".to_owned()));
        }
        if !names.insert(name) {
            return Err(refuse(format!(
                "Cannot create field because of field name duplication {name}"
            )));
        }
        fields.push(Field { name: (**name).into(), schema });
    }
    Ok(fields)
}

fn read_default(schema: &Schema, node: &Node, rules: Rules) -> Result<Option<Value>> {
    let value = rules.value(&Arc::new(schema.clone()), Some(node))?;
    if value.is_null() && !schema.optional {
        let cause = Error::data(format!(
            "Invalid value: null used for required value, schema type: {}",
            schema.kind.connect_name()
        ));
        return Err(Error::data("Invalid default value").with_class(BUILDER).with_source(cause));
    }
    Ok((!value.is_null()).then_some(value))
}
