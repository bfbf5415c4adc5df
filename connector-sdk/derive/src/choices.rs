//! Writes the implementation of `ConfigEnum`, and with it of `ConfigValue` and `Display`.

use std::collections::HashSet;

use proc_macro2::TokenStream;
use quote::quote;
use syn::ext::IdentExt;
use syn::{Data, DeriveInput, Error, Fields, Ident, LitStr, Result, Variant};

use crate::attributes::{each, list, value};
use crate::docs::documentation;
use crate::errors::Errors;

/// The implementations for an enum, or all that is wrong with its declaration.
pub(crate) fn expand(input: &DeriveInput) -> Result<TokenStream> {
    let Data::Enum(data) = &input.data else {
        return Err(Error::new(input.ident.span(), "a choice is an enum"));
    };
    let ignore_case = ignore_case(input)?;
    let mut errors = Errors::default();
    let parsed = data.variants.iter().map(Choice::parse);
    let choices: Vec<Choice<'_>> = parsed.filter_map(|choice| errors.keep(choice)).collect();
    errors.keep(refuse_duplicates(&choices, ignore_case));
    if data.variants.is_empty() {
        errors.keep::<()>(Err(Error::new(input.ident.span(), "there is nothing to choose")));
    }
    errors.finish()?;

    let name = &input.ident;
    let variants: Vec<&Ident> = choices.iter().map(|choice| choice.variant).collect();
    let names: Vec<&String> = choices.iter().map(|choice| &choice.name).collect();
    let documentation = choices.iter().map(|choice| &choice.documentation);
    let spellings = choices.iter().map(|choice| {
        let Choice { variant, name, aliases, .. } = choice;
        quote!((Self::#variant, &[#name, #(#aliases),*]))
    });
    Ok(quote! {
        const _: () = {
            #[automatically_derived]
            impl ::towpath_sdk::config::ConfigEnum for #name {
                const CHOICES: &'static [::towpath_sdk::config::Choice] = &[
                    #(::towpath_sdk::config::Choice {
                        name: #names, documentation: #documentation,
                    }),*
                ];
                const IGNORE_CASE: bool = #ignore_case;

                fn from_name(name: &str) -> ::core::option::Option<Self> {
                    ::towpath_sdk::config::reader::spelt(
                        name, #ignore_case, [#(#spellings),*],
                    )
                }

                fn name(&self) -> &'static str {
                    match self {
                        #(Self::#variants => #names),*
                    }
                }
            }

            #[automatically_derived]
            impl ::towpath_sdk::config::ConfigValue for #name {
                const KIND: ::towpath_sdk::config::FieldType =
                    ::towpath_sdk::config::FieldType::String;

                fn parse_value(
                    text: &str,
                ) -> ::core::result::Result<Self, ::std::string::String> {
                    ::towpath_sdk::config::reader::choose(text)
                }

                fn allowed()
                -> ::core::option::Option<&'static [::towpath_sdk::config::Choice]> {
                    ::core::option::Option::Some(
                        <Self as ::towpath_sdk::config::ConfigEnum>::CHOICES,
                    )
                }

                fn valid_values() -> ::core::option::Option<::std::string::String> {
                    ::core::option::Option::Some(
                        ::towpath_sdk::config::reader::choices_text::<Self>(),
                    )
                }
            }

            #[automatically_derived]
            impl ::core::fmt::Display for #name {
                fn fmt(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
                    f.pad(::towpath_sdk::config::ConfigEnum::name(self))
                }
            }
        };
    })
}

/// A variant as it was declared.
struct Choice<'a> {
    variant: &'a Ident,
    name: String,
    aliases: Vec<LitStr>,
    documentation: String,
}

impl<'a> Choice<'a> {
    fn parse(variant: &'a Variant) -> Result<Self> {
        let ident = &variant.ident;
        if !matches!(variant.fields, Fields::Unit) {
            return Err(Error::new(ident.span(), "a choice has no fields"));
        }
        let mut name = None;
        let mut aliases = Vec::new();
        each(&variant.attrs, |attribute, meta| {
            match attribute {
                "name" => name = Some(value::<LitStr>(meta)?.value()),
                "alias" => aliases = list(meta)?,
                _ => return Err(meta.error("unknown attribute, expected `name` or `alias`")),
            }
            Ok(())
        })?;
        Ok(Self {
            variant: ident,
            name: name.unwrap_or_else(|| snake_case(&ident.unraw().to_string())),
            aliases,
            documentation: documentation(&variant.attrs).unwrap_or_default(),
        })
    }
}

fn ignore_case(input: &DeriveInput) -> Result<bool> {
    let mut ignore_case = false;
    each(&input.attrs, |attribute, meta| {
        if attribute != "ignore_case" {
            return Err(meta.error("unknown attribute, expected `ignore_case`"));
        }
        ignore_case = true;
        Ok(())
    })?;
    Ok(ignore_case)
}

fn refuse_duplicates(choices: &[Choice<'_>], ignore_case: bool) -> Result<()> {
    let mut errors = Errors::default();
    let mut names = HashSet::new();
    for choice in choices {
        let aliases = choice.aliases.iter().map(|alias| (alias.value(), alias.span()));
        let name = (choice.name.clone(), choice.variant.span());
        for (name, span) in std::iter::once(name).chain(aliases) {
            let unique = if ignore_case { name.to_lowercase() } else { name.clone() };
            if !names.insert(unique) {
                let hint = format!("the name `{name}` is taken");
                errors.keep::<()>(Err(Error::new(span, hint)));
            }
        }
    }
    errors.finish()
}

/// `NoData` → `no_data`.
fn snake_case(variant: &str) -> String {
    let mut name = String::new();
    for c in variant.chars() {
        if c.is_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.extend(c.to_lowercase());
    }
    name
}

#[cfg(test)]
mod tests {
    use syn::parse_quote;

    use super::{expand, snake_case};

    #[test]
    fn names_are_snake_case() {
        assert_eq!(snake_case("None"), "none");
        assert_eq!(snake_case("NoData"), "no_data");
    }

    #[track_caller]
    fn check(input: &syn::DeriveInput, expect: &[&str]) {
        let errors = expand(input).err().into_iter().flatten();
        assert_eq!(errors.map(|error| error.to_string()).collect::<Vec<_>>(), expect);
    }

    #[test]
    fn refuses_what_is_not_a_choice() {
        check(
            &parse_quote!(
                struct X;
            ),
            &["a choice is an enum"],
        );
        check(
            &parse_quote!(
                enum X {}
            ),
            &["there is nothing to choose"],
        );
        check(
            &parse_quote!(
                enum X {
                    A(u8),
                    #[config(name = "b")]
                    B,
                    #[config(alias("b"))]
                    C,
                    #[config(nam = "d")]
                    D,
                }
            ),
            &[
                "a choice has no fields",
                "unknown attribute, expected `name` or `alias`",
                "the name `b` is taken",
            ],
        );
        check(
            &parse_quote!(
                #[config(ignore_case)]
                enum X {
                    #[config(name = "B")]
                    A,
                    B,
                }
            ),
            &["the name `b` is taken"],
        );
    }
}
