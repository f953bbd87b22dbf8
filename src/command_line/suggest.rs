//! Tips for flags that do not exist: the flag or setting that was meant.

use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::config;

/// Flags of other programs, and what they are here.
const ELSEWHERE: &[(&str, &str)] = &[
    ("port", "--listen ADDR:PORT"),
    ("host", "--listen ADDR:PORT"),
    ("bind", "--listen ADDR:PORT"),
    ("address", "--listen ADDR:PORT"),
    ("threads", "--shards N"),
    ("workers", "--shards N"),
    ("user", "--sub USER"),
    ("usr", "--sub USER"),
];

/// Adds a tip to a refusal of an unknown flag that has none.
pub fn with_suggestion(mut error: clap::Error) -> clap::Error {
    let is_without_tip = error.kind() == ErrorKind::UnknownArgument && error.get(ContextKind::SuggestedArg).is_none();
    let flag = match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(flag)) if is_without_tip => flag.trim_start_matches('-').to_owned(),
        _ => return error,
    };
    if let Some(tip) = tip(&flag) {
        let tip = ContextValue::StyledStrs(vec![format!("use '{tip}'").into()]);
        error.insert(ContextKind::Suggested, tip);
    }
    error
}

fn tip(flag: &str) -> Option<String> {
    if let Some((_, here)) = ELSEWHERE.iter().find(|(name, _)| *name == flag) {
        return Some((*here).to_owned());
    }
    // Any other program calls the setting drain.seconds --drain-seconds.
    let key = config::nearest_key(&flag.replace('-', "_")).or_else(|| config::nearest_key(&flag.replace('-', ".")));
    let flags = ["dev", "config", "listen", "shards", "data", "set"];
    match config::nearest(flag, flags.into_iter()) {
        Some(flag) => Some(format!("--{flag}")),
        None => key.map(|key| format!("--set {key}=VALUE")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mistyped_flag_gets_a_tip() {
        let cases = [
            ("dve", "--dev"),
            ("lisen", "--listen"),
            ("port", "--listen ADDR:PORT"),
            ("drain-seconds", "--set drain.seconds=VALUE"),
            ("jwks-file", "--set auth.jwks_file=VALUE"),
            ("limits.messages-per-minute", "--set limits.messages_per_minute=VALUE"),
        ];
        for (flag, expected) in cases {
            assert_eq!(tip(flag).as_deref(), Some(expected), "{flag}");
        }
        assert_eq!(tip("colour"), None);
    }
}
