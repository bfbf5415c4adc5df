//! Bodies about plugins: the list, their config definitions, the validation of a config.

use serde::{Deserialize, Serialize};

/// One of `GET /connector-plugins`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PluginInfo {
    /// Its class name, or our short name.
    #[serde(rename = "class")]
    pub class_name: String,
    /// What it is.
    #[serde(rename = "type")]
    pub kind: PluginType,
    /// Its version, if it tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

/// What a plugin is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PluginType {
    /// A source connector.
    Source,
    /// A sink connector.
    Sink,
    /// A converter of keys and values.
    Converter,
    /// A converter of headers.
    HeaderConverter,
    /// A transform.
    Transformation,
    /// A predicate, which guards a transform.
    Predicate,
}

/// The type of a config property.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum ConfigType {
    /// `true` or `false`.
    Boolean,
    /// A text.
    String,
    /// 32 bits.
    Int,
    /// 16 bits.
    Short,
    /// 64 bits.
    Long,
    /// Floating point.
    Double,
    /// Texts separated by commas.
    List,
    /// The name of a plugin's class.
    Class,
    /// A text that is never shown.
    Password,
}

/// How likely a user must care about a property.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Importance {
    /// Nearly always.
    High,
    /// Often.
    Medium,
    /// Seldom.
    Low,
}

/// How wide a form's field should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Width {
    /// No hint.
    None,
    /// A number.
    Short,
    /// A name.
    Medium,
    /// A path, a list.
    Long,
}

/// The definition of one property: one of `GET /connector-plugins/{plugin}/config`.
///
/// The place within the group is `order_in_group` in replies; `order` is taken too when reading.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigKeyInfo {
    /// The property.
    pub name: String,
    /// Its type.
    #[serde(rename = "type")]
    pub kind: ConfigType,
    /// Whether it must be set.
    pub required: bool,
    /// Its value if unset, as text.
    pub default_value: Option<String>,
    /// How likely a user must care.
    pub importance: Importance,
    /// What it does.
    pub documentation: String,
    /// The heading it stands under in a form.
    pub group: Option<String>,
    /// Its place under that heading, from 1; −1 without a heading.
    #[serde(alias = "order")]
    pub order_in_group: i32,
    /// How wide its field should be.
    pub width: Width,
    /// Its label.
    pub display_name: String,
    /// The properties whose validity or visibility depends on this one.
    pub dependents: Vec<String>,
}

/// The value of one property, checked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigValueInfo {
    /// The property.
    pub name: String,
    /// Its value as text, or its default; secrets are `[hidden]`.
    pub value: Option<String>,
    /// Values to offer.
    pub recommended_values: Vec<String>,
    /// What is wrong with it.
    pub errors: Vec<String>,
    /// Whether a form should show it.
    pub visible: bool,
}

/// One property: its definition and its value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigInfo {
    /// Its definition.
    pub definition: ConfigKeyInfo,
    /// Its value.
    pub value: ConfigValueInfo,
}

/// `PUT /connector-plugins/{plugin}/config/validate`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigInfos {
    /// The connector's class.
    pub name: String,
    /// How many errors there are; a property may have several.
    pub error_count: u32,
    /// The headings, in order.
    pub groups: Vec<String>,
    /// The properties.
    pub configs: Vec<ConfigInfo>,
}

impl ConfigInfos {
    /// Builds the reply; `error_count` is the number of all errors.
    pub fn new(name: impl Into<String>, groups: Vec<String>, configs: Vec<ConfigInfo>) -> Self {
        let errors: usize = configs.iter().map(|config| config.value.errors.len()).sum();
        Self {
            name: name.into(),
            error_count: u32::try_from(errors).unwrap_or(u32::MAX),
            groups,
            configs,
        }
    }

    /// Every error text, in the order of the properties.
    pub fn errors(&self) -> Vec<&str> {
        self.configs.iter().flat_map(|config| &config.value.errors).map(String::as_str).collect()
    }
}
