//! `${NAME}` and `${NAME:-fallback}` in the texts of the file. Pure: the environment is a function.

/// Why the variables of a text cannot be filled in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SubstituteError {
    #[error("the environment variable `{0}` is not set")]
    Unset(String),
    #[error("`${{` without its `}}`")]
    Open,
    #[error("`{}` is not the name of an environment variable", .0.escape_debug())]
    BadName(String),
    #[error("with its variables this text is too long")]
    TooLong,
}

impl SubstituteError {
    #[allow(clippy::literal_string_with_formatting_args, reason = "the braces are what the user writes")]
    pub(crate) fn hint(&self) -> &'static str {
        match self {
            Self::Unset(_) => "set it, or give a fallback: ${NAME:-value}",
            Self::Open | Self::BadName(_) => "write ${NAME} or ${NAME:-value}",
            Self::TooLong => "is the variable the right one?",
        }
    }
}

/// A text with its variables filled in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Substituted {
    pub(crate) text: String,
    /// The values that came from the environment, and the names of their variables.
    pub(crate) values: Vec<(String, String)>,
}

/// Fills variables into a text, which then has at most `room` bytes. Variables in values are not expanded.
pub(crate) fn substitute(
    text: &str,
    room: usize,
    variable: &dyn Fn(&str) -> Option<String>,
) -> Result<Substituted, SubstituteError> {
    let mut out = String::with_capacity(text.len());
    let mut values = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        let (inside, behind) = after.split_once('}').ok_or(SubstituteError::Open)?;
        let (name, fallback) = match inside.split_once(":-") {
            Some((name, fallback)) => (name, Some(fallback)),
            None => (inside, None),
        };
        let letters = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if name.is_empty() || !name.chars().all(letters) {
            return Err(SubstituteError::BadName(name.to_owned()));
        }
        // As in a shell, `:-` also covers an empty variable.
        let value = variable(name).filter(|value| fallback.is_none() || !value.is_empty());
        out.push_str(before);
        match (value, fallback) {
            (Some(value), _) => {
                out.push_str(&value);
                if !value.is_empty() {
                    values.push((value, name.to_owned()));
                }
            }
            (None, Some(fallback)) => out.push_str(fallback),
            (None, None) => return Err(SubstituteError::Unset(name.to_owned())),
        }
        rest = behind;
        if out.len() + rest.len() > room {
            return Err(SubstituteError::TooLong);
        }
    }
    out.push_str(rest);
    Ok(Substituted { text: out, values })
}

/// A name from the configuration with this process's variables filled in: the name that a running weir uses.
/// The name itself if a variable is not set here.
pub fn expand(name: &str) -> String {
    let variable = |variable: &str| std::env::var(variable).ok();
    substitute(name, LONGEST_NAME, &variable).map_or_else(|_unset| name.to_owned(), |found| found.text)
}

/// Bytes of a name with its variables: ample for a pool's name and a backend's.
const LONGEST_NAME: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    fn with(text: &str) -> Result<String, SubstituteError> {
        let substituted = substitute(text, 1_000, &|name| match name {
            "HOST" => Some("db.example.com".into()),
            "EMPTY" => Some(String::new()),
            "TWICE" => Some("${HOST}".into()),
            _ => None,
        });
        substituted.map(|substituted| substituted.text)
    }

    #[test]
    #[allow(clippy::literal_string_with_formatting_args, reason = "the braces are what the user writes")]
    fn variables_and_fallbacks_are_filled_in() {
        assert_eq!(with("plain $ text").unwrap(), "plain $ text");
        assert_eq!(with("${HOST}:${PORT:-443}!").unwrap(), "db.example.com:443!");
        assert_eq!(with("${EMPTY}").unwrap(), "");
        assert_eq!(with("${EMPTY:-x}").unwrap(), "x");
        assert_eq!(with("${NONE:-}").unwrap(), "");
        assert_eq!(with("${TWICE}").unwrap(), "${HOST}");
    }

    #[test]
    #[allow(clippy::literal_string_with_formatting_args, reason = "the braces are what the user writes")]
    fn values_from_the_environment_are_reported() {
        let variable = |name: &str| (name == "HOST").then(|| "db".to_owned());
        let found = substitute("${HOST}:${PORT:-443}", 100, &variable).unwrap();
        assert_eq!(found.values, [("db".to_owned(), "HOST".to_owned())], "a fallback is no secret");
        let endless = |_: &str| Some("x".repeat(60));
        assert_eq!(substitute("${A}${A}", 100, &endless), Err(SubstituteError::TooLong));
    }

    #[test]
    fn missing_variables_are_named() {
        assert_eq!(with("${NONE}"), Err(SubstituteError::Unset("NONE".into())));
        assert_eq!(with("a${HOST"), Err(SubstituteError::Open));
        assert_eq!(with("${a b}"), Err(SubstituteError::BadName("a b".into())));
        assert_eq!(with("${}"), Err(SubstituteError::BadName(String::new())));
    }
}
