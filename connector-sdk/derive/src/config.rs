//! Writes the implementation of `ConnectorConfig`.

use std::collections::{HashMap, HashSet};

use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, format_ident, quote, quote_spanned};
use syn::ext::IdentExt;
use syn::spanned::Spanned;
use syn::{Data, DeriveInput, Error, Field, Fields, Ident, LitStr, Result, Type};

use crate::attributes::{FieldAttributes, StructAttributes, option_of};
use crate::docs::documentation;
use crate::errors::Errors;

/// The implementation for a struct, or all that is wrong with its declaration.
pub(crate) fn expand(input: &DeriveInput) -> Result<TokenStream> {
    let declared = Declared::parse(input)?;
    let Declared { name, fields, validate, unit } = &declared;

    let definitions = fields.iter().map(DeclaredField::definition);
    let unit_checks = fields.iter().filter_map(DeclaredField::unit_check);
    let locals: Vec<Ident> =
        (0..fields.len()).map(|index| format_ident!("field_{index}")).collect();
    let reads = fields.iter().map(DeclaredField::read);
    let idents: Vec<&Ident> = fields.iter().map(|field| field.ident).collect();
    let validate = optional(validate.as_ref().map(|path| quote!(#path)));
    let build = if *unit { quote!(Self) } else { quote!(Self { #(#idents: #locals),* }) };

    let count = fields.len();
    // Nothing is generated that a struct without fields would make superfluous.
    let mutable = fields.iter().any(DeclaredField::is_read).then(|| quote!(mut));
    let unwrap = (count > 0).then(|| {
        quote! {
            let (#(::core::option::Option::Some(#locals),)*) = (#(#locals,)*) else {
                return ::core::result::Result::Err(reader.into_errors());
            };
        }
    });

    Ok(quote! {
        const _: () = {
            #(#unit_checks)*

            #[automatically_derived]
            impl ::towpath_sdk::config::ConnectorConfig for #name {
                fn definition() -> &'static ::towpath_sdk::config::ConfigDef {
                    static DEFINITION: ::std::sync::LazyLock<::towpath_sdk::config::ConfigDef> =
                        ::std::sync::LazyLock::new(|| {
                            let keys: [::std::vec::Vec<::towpath_sdk::config::ConfigKey>; #count] =
                                [#(#definitions),*];
                            ::towpath_sdk::config::ConfigDef { keys: keys.concat() }
                        });
                    &DEFINITION
                }

                fn parse(
                    properties: &::towpath_sdk::config::Properties,
                ) -> ::core::result::Result<Self, ::towpath_sdk::config::FieldErrors> {
                    let #mutable reader = ::towpath_sdk::config::reader::Reader::new(
                        properties,
                        <Self as ::towpath_sdk::config::ConnectorConfig>::definition(),
                    );
                    #(let #locals = #reads;)*
                    #unwrap
                    reader.finish(#build, #validate)
                }
            }
        };
    })
}

/// A struct as it was declared.
struct Declared<'a> {
    name: &'a Ident,
    fields: Vec<DeclaredField<'a>>,
    validate: Option<syn::Path>,
    /// Whether it is a unit struct.
    unit: bool,
}

/// A field as it was declared.
struct DeclaredField<'a> {
    ident: &'a Ident,
    /// The type, without its `Option`.
    value_type: &'a Type,
    optional: bool,
    key: LitStr,
    documentation: String,
    group: Option<LitStr>,
    order: i32,
    attributes: FieldAttributes,
}

impl<'a> Declared<'a> {
    fn parse(input: &'a DeriveInput) -> Result<Self> {
        let Data::Struct(data) = &input.data else {
            return Err(Error::new(input.ident.span(), "a configuration is a struct"));
        };
        if !input.generics.params.is_empty() {
            let hint = "a configuration has no generic parameters";
            return Err(Error::new(input.generics.span(), hint));
        }
        let (named, unit) = match &data.fields {
            Fields::Named(fields) => (Some(&fields.named), false),
            Fields::Unit => (None, true),
            Fields::Unnamed(fields) => {
                return Err(Error::new(fields.span(), "a configuration has named fields"));
            }
        };
        let outer = StructAttributes::parse(&input.attrs)?;
        let mut errors = Errors::default();
        let mut orders = HashMap::new();
        let mut fields = Vec::new();
        for field in named.into_iter().flatten() {
            if let Some(field) = errors.keep(DeclaredField::parse(field, &outer, &mut orders)) {
                fields.push(field);
            }
        }
        errors.keep(refuse_duplicates(&fields));
        errors.finish()?;
        Ok(Self { name: &input.ident, fields, validate: outer.validate, unit })
    }
}

impl<'a> DeclaredField<'a> {
    /// `orders` counts the fields of each group.
    fn parse(
        field: &'a Field,
        outer: &StructAttributes,
        orders: &mut HashMap<String, i32>,
    ) -> Result<Self> {
        let Some(ident) = &field.ident else {
            return Err(Error::new(field.span(), "a configuration has named fields"));
        };
        let attributes = FieldAttributes::parse(&field.attrs)?;
        let inner = option_of(&field.ty);
        let key = match (&attributes.key, &attributes.prefix) {
            (Some(key), _) => key.clone(),
            (None, Some(prefix)) => LitStr::new(&format!("{}*", prefix.value()), prefix.span()),
            (None, None) => LitStr::new(&ident.unraw().to_string().replace('_', "."), ident.span()),
        };
        let documentation = match documentation(&field.attrs) {
            Some(text) => text,
            None if attributes.nested.is_some() => String::new(),
            None => {
                let hint = format!(
                    "`{}` needs a doc comment, which becomes the documentation of `{}`: its \
                     meaning, its unit, why this default",
                    ident,
                    key.value(),
                );
                return Err(Error::new(ident.span(), hint));
            }
        };
        match (inner, &attributes.default, &attributes.none) {
            (Some(_), Some(default), None) => {
                let hint = "a field with a default is never absent: drop the `Option` or the \
                            default, or say which text means `None`: `none = \"…\"`";
                return Err(Error::new(default.span(), hint));
            }
            (None, _, Some(none)) => {
                let hint = "`none` says which text means `None`: make the field an `Option`";
                return Err(Error::new(none.span(), hint));
            }
            _ => {}
        }
        if let Some(prefix) =
            attributes.prefix.as_ref().filter(|prefix| !prefix.value().ends_with('.'))
        {
            return Err(Error::new(prefix.span(), "a prefix ends in a dot"));
        }
        if key.value().trim() != key.value() || key.value().is_empty() {
            return Err(Error::new(key.span(), "a key is not empty and has no space around it"));
        }
        let group = attributes.group.clone().or_else(|| outer.group.clone());
        let order = match (&group, &attributes.nested) {
            (Some(group), None) => {
                let order = orders.entry(group.value()).or_default();
                *order += 1;
                *order
            }
            _ => -1,
        };
        Ok(Self {
            ident,
            value_type: inner.unwrap_or(&field.ty),
            optional: inner.is_some(),
            key,
            documentation,
            group,
            order,
            attributes,
        })
    }

    /// The expression of the keys which the field adds to the definition.
    fn definition(&self) -> TokenStream {
        let Self { key, value_type, documentation, attributes, .. } = self;
        if attributes.nested.is_some() {
            let prefix = self.prefix();
            return quote! {
                ::towpath_sdk::config::reader::nested_keys::<#value_type>(#prefix)
            };
        }
        let new = if attributes.prefix.is_some() {
            let kind = if attributes.secret.is_some() { quote!(Password) } else { quote!(String) };
            quote! {
                ::towpath_sdk::config::ConfigKey::new(
                    #key, ::towpath_sdk::config::FieldType::#kind, #documentation,
                )
            }
        } else {
            quote!(::towpath_sdk::config::reader::key::<#value_type>(#key, #documentation))
        };
        let settings = self.settings();
        quote! {
            {
                let mut key = #new;
                #(#settings)*
                ::std::vec![key]
            }
        }
    }

    /// The statements that set what is said of the key.
    fn settings(&self) -> Vec<TokenStream> {
        let said = &self.attributes;
        let importance = said.importance.clone().unwrap_or_else(|| format_ident!("Medium"));
        let (position, order) = (self.order, &said.order);
        let order = order.as_ref().map_or_else(|| quote!(#position), |order| quote!(#order));
        let group = optional(self.group.as_ref().map(text));
        let deprecated = optional(said.deprecated.as_ref().map(text));
        let dependents = said.dependents.iter().map(text);
        let recommended = said.recommended.iter().map(text);
        let aliases = said.aliases.iter().map(text);
        let mut settings = vec![quote! {
            key.importance = ::towpath_sdk::config::Importance::#importance;
            key.order = #order;
            key.group = #group;
            key.deprecated = #deprecated;
            key.dependents = ::std::vec![#(#dependents),*];
            key.recommended = ::std::vec![#(#recommended),*];
            key.aliases = ::std::vec![#(#aliases),*];
        }];
        if let Some(width) = &said.width {
            settings.push(quote!(key.width = ::towpath_sdk::config::Width::#width;));
        }
        if let Some(display) = said.display.as_ref().map(text) {
            settings.push(quote!(key.display_name = #display;));
        }
        if said.prefix.is_none() {
            settings.extend(self.value_settings());
        }
        settings
    }

    /// The statements that set what is said of the value.
    fn value_settings(&self) -> Vec<TokenStream> {
        let FieldAttributes { default, none, class, range, one_of, non_empty, .. } =
            &self.attributes;
        let required = !self.optional && default.is_none();
        let default = optional(default.as_ref().map(text));
        let mut settings = vec![quote! {
            key.required = #required;
            key.default = #default;
        }];
        if class.is_some() {
            settings.push(quote!(key.kind = ::towpath_sdk::config::FieldType::Class;));
        }
        if range.is_some() {
            let (min, max) = self.bounds();
            let value_type = self.value_type;
            settings.push(quote! {
                key.valid_values =
                    ::towpath_sdk::config::reader::range_text::<#value_type>(#min, #max);
            });
        } else if !one_of.is_empty() {
            let names = one_of.iter().map(LitStr::value).collect::<Vec<_>>().join(", ");
            let names = optional(Some(text(&format!("[{names}]"))));
            settings.push(quote! {
                key.valid_values = #names;
                key.choices = ::std::vec![#(::towpath_sdk::config::Choice {
                    name: #one_of, documentation: "",
                }),*];
            });
        } else if non_empty.is_some() {
            settings.push(quote! {
                key.valid_values = ::towpath_sdk::config::reader::non_empty_text(key.kind);
            });
        }
        if let Some(none) = none {
            settings.push(quote! {
                key.valid_values =
                    ::towpath_sdk::config::reader::none_text(#none, key.valid_values);
            });
        }
        settings
    }

    /// Whether reading the field can fail.
    fn is_read(&self) -> bool {
        self.attributes.nested.is_some() || self.attributes.prefix.is_none()
    }

    /// The expression that reads the field: an `Option` which is `None` in case of an error.
    fn read(&self) -> TokenStream {
        let Self { key, value_type, attributes, .. } = self;
        let prefix = self.prefix();
        if attributes.nested.is_some() {
            return quote!(reader.nested::<#value_type>(#prefix));
        }
        if attributes.prefix.is_some() {
            return quote!(::core::option::Option::Some(reader.prefixed(#prefix)));
        }
        let mut checks = Vec::new();
        if attributes.non_empty.is_some() {
            checks.push(quote!(NonEmpty));
        }
        if attributes.range.is_some() {
            let (min, max) = self.bounds();
            checks.push(quote! {
                Range(|text| {
                    ::towpath_sdk::config::reader::range::<#value_type>(text, #min, #max)
                })
            });
        }
        if !attributes.one_of.is_empty() {
            let allowed = &attributes.one_of;
            checks.push(quote!(OneOf(&[#(#allowed),*])));
        }
        let value = optional(attributes.validate.as_ref().map(|path| quote!(|value| #path(value))));
        let none = optional(attributes.none.as_ref().map(|none| quote!(#none)));
        let method = if self.optional { quote!(optional) } else { quote!(required) };
        quote_spanned! {Span::call_site().located_at(value_type.span())=>
            reader.#method::<#value_type>(#key, &::towpath_sdk::config::reader::Checks {
                text: &[#(::towpath_sdk::config::reader::TextCheck::#checks),*],
                none: #none,
                value: #value,
            })
        }
    }

    /// The bounds of the range, as options of what the type is compared as.
    fn bounds(&self) -> (TokenStream, TokenStream) {
        let value_type = self.value_type;
        let bound = |bound: Option<&syn::Expr>| {
            optional(bound.map(|bound| {
                quote! {
                    (#bound) as <#value_type as ::towpath_sdk::config::Ranged>::Bound
                }
            }))
        };
        let range = self.attributes.range.as_ref();
        (
            bound(range.and_then(|range| range.min.as_ref())),
            bound(range.and_then(|range| range.max.as_ref())),
        )
    }

    fn prefix(&self) -> String {
        self.attributes.prefix.as_ref().map(LitStr::value).unwrap_or_default()
    }

    /// The check that the key names the unit which the type asks for.
    fn unit_check(&self) -> Option<TokenStream> {
        let FieldAttributes { unit, nested, prefix, .. } = &self.attributes;
        if unit.is_some() || nested.is_some() || prefix.is_some() {
            return None;
        }
        let Self { key, value_type, .. } = self;
        let hint = format!(
            "the key `{}` does not name its unit: a duration is in milliseconds and its key ends \
             in `.ms`; if the key is somebody else's, say `unit = \"ms\"`",
            key.value()
        );
        Some(quote_spanned! {Span::call_site().located_at(key.span())=>
            const _: () = ::core::assert!(
                ::towpath_sdk::config::reader::names_unit(
                    <#value_type as ::towpath_sdk::config::ConfigValue>::KEY_SUFFIX, #key,
                ),
                #hint
            );
        })
    }
}

/// The expression of an `Option`.
fn optional(value: Option<TokenStream>) -> TokenStream {
    match value {
        Some(value) => quote!(::core::option::Option::Some(#value)),
        None => quote!(::core::option::Option::None),
    }
}

/// The expression of the text that `value` displays as.
fn text(value: &impl ToTokens) -> TokenStream {
    quote!(::std::string::ToString::to_string(&(#value)))
}

/// A key, or an alias, can be declared once.
fn refuse_duplicates(fields: &[DeclaredField<'_>]) -> Result<()> {
    let mut errors = Errors::default();
    let mut names = HashSet::new();
    for field in fields.iter().filter(|field| field.attributes.nested.is_none()) {
        for name in std::iter::once(&field.key).chain(&field.attributes.aliases) {
            if !names.insert(name.value()) {
                let hint = format!("the key `{}` is declared twice", name.value());
                errors.keep::<()>(Err(Error::new(name.span(), hint)));
            }
        }
    }
    errors.finish()
}

#[cfg(test)]
mod tests {
    use syn::parse_quote;

    use super::expand;

    #[track_caller]
    fn check(input: &syn::DeriveInput, expect: &[&str]) {
        let errors = expand(input).err().into_iter().flatten();
        assert_eq!(errors.map(|error| error.to_string()).collect::<Vec<_>>(), expect);
    }

    #[test]
    fn every_field_needs_a_doc_comment() {
        check(
            &parse_quote!(
                struct Config {
                    first_ms: u64,
                    /// Documented.
                    second: u64,
                    ///
                    #[config(key = "3rd")]
                    third: u64,
                }
            ),
            &[
                "`first_ms` needs a doc comment, which becomes the documentation of `first.ms`: \
                 its meaning, its unit, why this default",
                "`third` needs a doc comment, which becomes the documentation of `3rd`: its \
                 meaning, its unit, why this default",
            ],
        );
    }

    #[test]
    fn a_configuration_is_a_plain_struct() {
        check(
            &parse_quote!(
                enum Config {
                    A,
                }
            ),
            &["a configuration is a struct"],
        );
        check(
            &parse_quote!(
                struct Config(u8);
            ),
            &["a configuration has named fields"],
        );
        check(
            &parse_quote!(
                struct Config<T> {
                    x: T,
                }
            ),
            &["a configuration has no generic parameters"],
        );
    }

    #[test]
    fn contradictions_are_refused() {
        check(
            &parse_quote!(
                struct Config {
                    /// Doc.
                    #[config(default = 1)]
                    a: Option<u8>,
                    /// Doc.
                    #[config(prefix = "x.", default = "y")]
                    b: Properties,
                    #[config(nested, importance = high)]
                    c: Other,
                    /// Doc.
                    #[config(secret)]
                    d: String,
                    /// Doc.
                    #[config(key = "e", key = "f")]
                    e: String,
                    /// Doc.
                    #[config(key = " f")]
                    f: String,
                    /// Doc.
                    #[config(prefix = "g")]
                    g: Properties,
                    /// Doc.
                    #[config(none = "")]
                    h: String,
                }
            ),
            &[
                "a field with a default is never absent: drop the `Option` or the default, or \
                 say which text means `None`: `none = \"…\"`",
                "`default` has no meaning beside `prefix`",
                "`importance` has no meaning beside `nested`",
                "`secret` goes with `prefix`; a single key is made secret by the type \
                 `Secret<String>`",
                "`key` is given twice",
                "a key is not empty and has no space around it",
                "a prefix ends in a dot",
                "`none` says which text means `None`: make the field an `Option`",
            ],
        );
    }

    #[test]
    fn keys_and_aliases_are_unique() {
        check(
            &parse_quote!(
                struct Config {
                    /// Doc.
                    a_b: u8,
                    /// Doc.
                    #[config(key = "a.b")]
                    x: u8,
                    /// Doc.
                    #[config(alias("a.b", "z"))]
                    y: u8,
                }
            ),
            &["the key `a.b` is declared twice", "the key `a.b` is declared twice"],
        );
    }

    #[test]
    fn words_and_ranges_are_checked() {
        check(
            &parse_quote!(
                struct Config {
                    /// Doc.
                    #[config(importance = urgent)]
                    a: u8,
                    /// Doc.
                    #[config(range(least = 1))]
                    b: u8,
                    /// Doc.
                    #[config(range())]
                    c: u8,
                    /// Doc.
                    #[config(alias())]
                    d: u8,
                    /// Doc.
                    #[config(unit = "h")]
                    e: Duration,
                }
            ),
            &[
                "expected one of: high, medium, low",
                "expected `min = …` or `max = …`",
                "unexpected end of input, expected nested attribute",
                "the list must not be empty",
                "expected `unit = \"ms\"`",
            ],
        );
    }
}
