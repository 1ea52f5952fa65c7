//! Configurations in TOML: what is wrong with one is told on one line.

use serde::de::DeserializeOwned;

/// Reads a TOML table.
///
/// # Errors
/// The line, the field with its tables, and what was expected there.
pub fn from_toml<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    let place = |error: &toml::de::Error| {
        let before = error.span().and_then(|span| text.get(..span.start));
        before.map_or_else(String::new, |before| format!("line {}: ", before.matches('\n').count() + 1))
    };
    let message = |error: &toml::de::Error| error.message().split_whitespace().collect::<Vec<_>>().join(" ");
    let document = toml::Deserializer::parse(text).map_err(|error| format!("{}{}", place(&error), message(&error)))?;
    serde_path_to_error::deserialize(document).map_err(|error| {
        let (field, error) = (error.path().to_string(), error.into_inner());
        // The whole file has the path `.`, which says nothing.
        let field = if field == "." { String::new() } else { format!("{field}: ") };
        format!("{}{field}{}", place(&error), message(&error))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Outer {
        inner: Inner,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Inner {
        count: u8,
    }

    #[test]
    fn an_error_is_one_line_with_its_place_its_field_and_what_was_expected() {
        assert_eq!(from_toml::<Outer>("inner = { count = 3 }").unwrap(), Outer { inner: Inner { count: 3 } });
        for (text, begins, contains) in [
            ("\n[inner]\ncount = -1", "line 3: inner.count: ", "u8"),
            ("[inner]\ncount = 1\nother = 2", "line 3: inner.other: unknown field `other`, expected `count`", ""),
            ("[inner]\ncount = 1\ncount = 2", "line 3: ", "duplicate key"),
            ("[inner\n", "line 1: ", "expected"),
            ("", "", "missing field `inner`"),
        ] {
            let error = from_toml::<Outer>(text).unwrap_err();
            assert!(error.starts_with(begins) && error.contains(contains), "{text}: {error}");
            assert!(!error.contains('\n') && !error.contains(".: "), "{text}: {error}");
        }
    }
}
