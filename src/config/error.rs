//! Problems of the settings and their sources.
//!
//! Every problem names its source (file with line and column, variable or flag), the found value and the expected one,
//! so that an operator can fix it without the documentation. One start reports all problems. Secrets never appear in a
//! problem.

use std::fmt;
use std::path::PathBuf;

use strsim::osa_distance;

/// Where a value was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum SettingSource {
    Default,
    Dev,
    /// The flag `--profile` with this number.
    Profile(&'static str),
    /// A place in the settings file; line and column (in characters) count from 1.
    File {
        path: PathBuf,
        line: usize,
        column: usize,
    },
    /// The environment variable of this name.
    Environment(String),
    /// The flag as it was spelled, without its value.
    Flag(String),
    /// A file with nothing but the value.
    SecretFile(PathBuf),
}

impl fmt::Display for SettingSource {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => formatter.write_str("default"),
            Self::Dev => formatter.write_str("--dev"),
            Self::Profile(number) => write!(formatter, "--profile {number}"),
            Self::File { path, line, column } => {
                write!(formatter, "{}:{line}:{column}", path.display())
            }
            Self::Environment(name) | Self::Flag(name) => formatter.write_str(name),
            Self::SecretFile(path) => write!(formatter, "{}", path.display()),
        }
    }
}

/// One problem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Problem {
    /// The value of a known key is invalid.
    Value {
        source: SettingSource,
        /// The key in full, such as `limits.frame_bytes`.
        key: String,
        /// The value as TOML, secrets masked.
        found: String,
        /// What the key takes, in words.
        expected: String,
    },
    /// The key is unknown.
    Unknown {
        source: SettingSource,
        key: String,
        /// The most similar known name, in the spelling of the source.
        nearest: Option<String>,
    },
    /// Another problem: unreadable text, or values that contradict each other.
    Other {
        /// Where it was written, if in one place.
        source: Option<SettingSource>,
        message: String,
    },
}

impl Problem {
    /// A problem that concerns more than one value.
    pub(super) fn other(source: Option<SettingSource>, message: impl Into<String>) -> Self {
        Self::Other { source, message: message.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Value { source, key, found, expected } => {
                write!(formatter, "{source}: {key}: found {found}, expected {expected}")
            }
            Self::Unknown { source: SettingSource::Environment(name), nearest, .. } => {
                write!(formatter, "{name}: no setting has this name")?;
                suggest(formatter, nearest)
            }
            Self::Unknown { source, key, nearest } => {
                write!(formatter, "{source}: unknown key {key}")?;
                suggest(formatter, nearest)
            }
            Self::Other { source: Some(source), message } => {
                write!(formatter, "{source}: {message}")
            }
            Self::Other { source: None, message } => formatter.write_str(message),
        }
    }
}

fn suggest(formatter: &mut fmt::Formatter<'_>, nearest: &Option<String>) -> fmt::Result {
    match nearest {
        Some(nearest) => write!(formatter, "; did you mean {nearest}?"),
        None => Ok(()),
    }
}

/// Why the settings were rejected: at least one problem, printed one per line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// The problems in the order they were found; never empty.
    pub(super) problems: Vec<Problem>,
}

impl From<Problem> for ConfigError {
    fn from(problem: Problem) -> Self {
        Self { problems: vec![problem] }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                formatter.write_str("\n")?;
            }
            write!(formatter, "{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}

/// The known name most similar to `written`, if one is similar enough.
///
/// A name with the right last word in the wrong group is similar; otherwise at most a third of the letters may differ.
pub fn nearest(written: &str, known: impl Iterator<Item = &'static str>) -> Option<&'static str> {
    let last_word = |name: &str| name.rsplit('.').next().unwrap_or_default().to_owned();
    let allowed = (written.chars().count() / 3).max(1);
    known
        .map(|name| match last_word(name) == last_word(written) {
            true => (1, name),
            false => (osa_distance(written, name), name),
        })
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, name)| (*distance, osa_distance(written, name)))
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: [&str; 4] = ["listen", "limits.messages_per_minute", "auth.secret", "turn.secret"];

    fn guess(written: &str) -> Option<&'static str> {
        nearest(written, KNOWN.into_iter())
    }

    #[test]
    fn suggestion_needs_a_similar_name() {
        assert_eq!(guess("lisen"), Some("listen"));
        assert_eq!(guess("limits.mesages_per_minute"), Some("limits.messages_per_minute"));
        assert_eq!(guess("messages_per_minute"), Some("limits.messages_per_minute"));
        assert_eq!(guess("limits_messages_per_minute"), Some("limits.messages_per_minute"));
        assert_eq!(guess("auht.secret"), Some("auth.secret"));
        assert_eq!(guess("colour"), None);
        assert_eq!(guess(""), None);
    }
}
