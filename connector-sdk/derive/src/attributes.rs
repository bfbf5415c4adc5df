//! The `#[config(…)]` attributes.

use proc_macro2::Span;
use syn::ext::IdentExt;
use syn::meta::ParseNestedMeta;
use syn::punctuated::Punctuated;
use syn::spanned::Spanned;
use syn::{Attribute, Error, Expr, Ident, LitStr, Path, Result, Token, Type};

/// What is said of a struct.
#[derive(Default)]
pub(crate) struct StructAttributes {
    pub(crate) group: Option<LitStr>,
    pub(crate) validate: Option<Path>,
}

/// What is said of a field.
#[derive(Default)]
pub(crate) struct FieldAttributes {
    pub(crate) key: Option<LitStr>,
    pub(crate) default: Option<Expr>,
    pub(crate) none: Option<LitStr>,
    pub(crate) importance: Option<Ident>,
    pub(crate) group: Option<LitStr>,
    pub(crate) order: Option<Expr>,
    pub(crate) width: Option<Ident>,
    pub(crate) display: Option<LitStr>,
    pub(crate) dependents: Vec<LitStr>,
    pub(crate) recommended: Vec<Expr>,
    pub(crate) range: Option<Range>,
    pub(crate) aliases: Vec<LitStr>,
    pub(crate) one_of: Vec<LitStr>,
    pub(crate) non_empty: Option<Span>,
    pub(crate) validate: Option<Path>,
    pub(crate) deprecated: Option<LitStr>,
    pub(crate) class: Option<Span>,
    pub(crate) unit: Option<LitStr>,
    pub(crate) prefix: Option<LitStr>,
    pub(crate) secret: Option<Span>,
    pub(crate) nested: Option<Span>,
    /// The attributes as they were given, for the check of what goes together.
    pub(crate) given: Vec<(String, Span)>,
}

/// `range(min = …, max = …)`.
#[derive(Default)]
pub(crate) struct Range {
    pub(crate) min: Option<Expr>,
    pub(crate) max: Option<Expr>,
}

impl StructAttributes {
    pub(crate) fn parse(attributes: &[Attribute]) -> Result<Self> {
        let mut parsed = Self::default();
        each(attributes, |name, meta| {
            match name {
                "group" => parsed.group = Some(value(meta)?),
                "validate" => parsed.validate = Some(value(meta)?),
                _ => return Err(meta.error("unknown attribute, expected `group` or `validate`")),
            }
            Ok(())
        })?;
        Ok(parsed)
    }
}

impl FieldAttributes {
    pub(crate) fn parse(attributes: &[Attribute]) -> Result<Self> {
        let mut parsed = Self::default();
        each(attributes, |name, meta| {
            parsed.one(name, meta)?;
            parsed.given.push((name.to_owned(), meta.path.span()));
            Ok(())
        })?;
        parsed.check_company()?;
        Ok(parsed)
    }

    fn one(&mut self, name: &str, meta: &ParseNestedMeta<'_>) -> Result<()> {
        let span = meta.path.span();
        match name {
            "key" => self.key = Some(value(meta)?),
            "default" => self.default = Some(value(meta)?),
            "none" => self.none = Some(value(meta)?),
            "importance" => self.importance = Some(word(meta, &["High", "Medium", "Low"])?),
            "group" => self.group = Some(value(meta)?),
            "order" => self.order = Some(value(meta)?),
            "width" => self.width = Some(word(meta, &["None", "Short", "Medium", "Long"])?),
            "display" => self.display = Some(value(meta)?),
            "dependents" => self.dependents = list(meta)?,
            "recommended" => self.recommended = list(meta)?,
            "range" => self.range = Some(Range::parse(meta)?),
            "alias" => self.aliases = list(meta)?,
            "one_of" => self.one_of = list(meta)?,
            "non_empty" => self.non_empty = Some(span),
            "validate" => self.validate = Some(value(meta)?),
            "deprecated" => self.deprecated = Some(value(meta)?),
            "class" => self.class = Some(span),
            "unit" => {
                let unit: LitStr = value(meta)?;
                if unit.value() != "ms" {
                    return Err(Error::new(unit.span(), "expected `unit = \"ms\"`"));
                }
                self.unit = Some(unit);
            }
            "prefix" => self.prefix = Some(value(meta)?),
            "secret" => self.secret = Some(span),
            "nested" => self.nested = Some(span),
            _ => {
                return Err(meta.error(
                    "unknown attribute, expected one of: key, default, none, importance, group, order, \
                     width, display, dependents, recommended, range, alias, one_of, non_empty, \
                     validate, deprecated, class, unit, prefix, secret, nested",
                ));
            }
        }
        Ok(())
    }

    /// Attributes that have no meaning beside `nested` or `prefix`, or without them, are refused.
    fn check_company(&self) -> Result<()> {
        let (kind, allowed): (_, &[&str]) = match (&self.nested, &self.prefix) {
            (Some(_), _) => ("nested", &["nested", "prefix"]),
            (None, Some(_)) => (
                "prefix",
                &[
                    "prefix",
                    "secret",
                    "importance",
                    "group",
                    "order",
                    "width",
                    "display",
                    "deprecated",
                ],
            ),
            (None, None) => match self.secret {
                Some(span) => {
                    let hint = "`secret` goes with `prefix`; a single key is made secret by the \
                                type `Secret<String>`";
                    return Err(Error::new(span, hint));
                }
                None => return Ok(()),
            },
        };
        match self.given.iter().find(|(name, _)| !allowed.contains(&name.as_str())) {
            Some((name, span)) => {
                Err(Error::new(*span, format!("`{name}` has no meaning beside `{kind}`")))
            }
            None => Ok(()),
        }
    }
}

impl Range {
    fn parse(meta: &ParseNestedMeta<'_>) -> Result<Self> {
        let mut range = Self::default();
        meta.parse_nested_meta(|bound| {
            if bound.path.is_ident("min") {
                range.min = Some(value(&bound)?);
            } else if bound.path.is_ident("max") {
                range.max = Some(value(&bound)?);
            } else {
                return Err(bound.error("expected `min = …` or `max = …`"));
            }
            Ok(())
        })?;
        Ok(range)
    }
}

/// The `T` of `Option<T>`.
pub(crate) fn option_of(field_type: &Type) -> Option<&Type> {
    let Type::Path(path) = field_type else { return None };
    let last = path.path.segments.last()?;
    if last.ident != "Option" {
        return None;
    }
    let syn::PathArguments::AngleBracketed(arguments) = &last.arguments else { return None };
    match arguments.args.first()? {
        syn::GenericArgument::Type(inner) if arguments.args.len() == 1 => Some(inner),
        _ => None,
    }
}

/// Calls `take` with each attribute inside `#[config(…)]`; refuses repetition.
pub(crate) fn each(
    attributes: &[Attribute],
    mut take: impl FnMut(&str, &ParseNestedMeta<'_>) -> Result<()>,
) -> Result<()> {
    let mut seen = Vec::new();
    for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident("config")) {
        attribute.parse_nested_meta(|meta| {
            let name = meta.path.require_ident()?.unraw().to_string();
            if seen.contains(&name) {
                return Err(meta.error(format!("`{name}` is given twice")));
            }
            take(&name, &meta)?;
            seen.push(name);
            Ok(())
        })?;
    }
    Ok(())
}

/// `= …`.
pub(crate) fn value<T: syn::parse::Parse>(meta: &ParseNestedMeta<'_>) -> Result<T> {
    meta.value()?.parse()
}

/// `(…, …)`, at least one.
pub(crate) fn list<T: syn::parse::Parse>(meta: &ParseNestedMeta<'_>) -> Result<Vec<T>> {
    let content;
    syn::parenthesized!(content in meta.input);
    let items = Punctuated::<T, Token![,]>::parse_terminated(&content)?;
    if items.is_empty() {
        return Err(meta.error("the list must not be empty"));
    }
    Ok(items.into_iter().collect())
}

/// `= word`, one of `words` in any case; gives the word as the variant's name.
fn word(meta: &ParseNestedMeta<'_>, words: &[&str]) -> Result<Ident> {
    let given: Ident = value(meta)?;
    match words.iter().find(|word| given.to_string().eq_ignore_ascii_case(word)) {
        Some(word) => Ok(Ident::new(word, given.span())),
        None => {
            let words = words.join(", ").to_lowercase();
            Err(Error::new(given.span(), format!("expected one of: {words}")))
        }
    }
}
