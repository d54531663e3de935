//! `${NAME}` and `${NAME:-fallback}` in the texts of the file. Pure: the environment is a function.

/// Why a text cannot be completed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SubstituteError {
    #[error("the environment variable `{0}` is not set")]
    Unset(String),
    #[error("`${{` without its `}}`")]
    Open,
    #[error("`{}` is not the name of an environment variable", .0.escape_debug())]
    BadName(String),
}

impl SubstituteError {
    #[allow(clippy::literal_string_with_formatting_args, reason = "the braces are what the user writes")]
    pub(crate) fn hint(&self) -> &'static str {
        match self {
            Self::Unset(_) => "set it, or give a fallback: ${NAME:-value}",
            Self::Open | Self::BadName(_) => "write ${NAME} or ${NAME:-value}",
        }
    }
}

/// Puts variables into a text. What is put in is not looked at again.
pub(crate) fn substitute(
    text: &str,
    variable: &dyn Fn(&str) -> Option<String>,
) -> Result<String, SubstituteError> {
    let mut out = String::with_capacity(text.len());
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
        // As in a shell, `:-` also covers a variable that is set to nothing.
        let value = variable(name).filter(|value| fallback.is_none() || !value.is_empty());
        out.push_str(before);
        match (value, fallback) {
            (Some(value), _) => out.push_str(&value),
            (None, Some(fallback)) => out.push_str(fallback),
            (None, None) => return Err(SubstituteError::Unset(name.to_owned())),
        }
        rest = behind;
    }
    out.push_str(rest);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(text: &str) -> Result<String, SubstituteError> {
        substitute(text, &|name| match name {
            "HOST" => Some("db.example.com".into()),
            "EMPTY" => Some(String::new()),
            "TWICE" => Some("${HOST}".into()),
            _ => None,
        })
    }

    #[test]
    #[allow(clippy::literal_string_with_formatting_args, reason = "the braces are what the user writes")]
    fn puts_variables_and_fallbacks_in() {
        assert_eq!(with("plain $ text").unwrap(), "plain $ text");
        assert_eq!(with("${HOST}:${PORT:-443}!").unwrap(), "db.example.com:443!");
        assert_eq!(with("${EMPTY}").unwrap(), "");
        assert_eq!(with("${EMPTY:-x}").unwrap(), "x");
        assert_eq!(with("${NONE:-}").unwrap(), "");
        assert_eq!(with("${TWICE}").unwrap(), "${HOST}");
    }

    #[test]
    fn names_what_is_missing() {
        assert_eq!(with("${NONE}"), Err(SubstituteError::Unset("NONE".into())));
        assert_eq!(with("a${HOST"), Err(SubstituteError::Open));
        assert_eq!(with("${a b}"), Err(SubstituteError::BadName("a b".into())));
        assert_eq!(with("${}"), Err(SubstituteError::BadName(String::new())));
    }
}
