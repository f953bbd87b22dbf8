//! The settings before their check: all values of each key, from the lowest source to the highest, each with its place.
//!
//! [`RawSettings::read`] checks all values of a key, not only the one in force: a mistake in the file is reported even
//! while a flag overrides it. Problems are collected, so that one start reports all of them.

use std::collections::BTreeMap;

use toml::Value;

use super::error::{Problem, SettingSource};
use super::kinds::{Checked, Shape};
use super::mask::masked;

/// The declaration of a setting.
pub(super) struct SettingKey {
    /// The key in full, such as `limits.frame_bytes`.
    pub(super) name: &'static str,
    /// The default.
    pub(super) default: fn() -> Value,
    /// How text from outside the file becomes a value.
    pub(super) shape: Shape,
    /// Description of the setting, in a sentence or two.
    pub(super) meaning: &'static str,
}

/// A value and its place.
#[derive(Clone)]
pub(super) struct Given {
    pub(super) value: Value,
    pub(super) source: SettingSource,
}

/// All values of all keys, and the problems found so far.
pub(super) struct RawSettings {
    values: BTreeMap<&'static str, Vec<Given>>,
    pub(super) problems: Vec<Problem>,
}

impl RawSettings {
    /// All keys with their defaults.
    pub(super) fn with_defaults(keys: &[&SettingKey]) -> Self {
        let default =
            |key: &&SettingKey| (key.name, vec![Given { value: (key.default)(), source: SettingSource::Default }]);
        let values: BTreeMap<_, _> = keys.iter().map(default).collect();
        assert_eq!(values.len(), keys.len(), "invariant: each key is declared once");
        Self { values, problems: Vec::new() }
    }

    /// Adds a value that overrides the earlier ones.
    pub(super) fn put(&mut self, key: &'static str, value: impl Into<Value>, source: SettingSource) {
        let values = self.values.get_mut(key).expect("invariant: only declared keys are set");
        values.push(Given { value: value.into(), source });
    }

    /// The value in force.
    pub(super) fn given(&self, key: &str) -> &Given {
        self.values.get(key).and_then(|given| given.last()).expect("invariant: each declared key has a default")
    }

    /// The source of the value in force.
    pub(super) fn source(&self, key: &str) -> SettingSource {
        self.given(key).source.clone()
    }

    /// Whether a source other than the defaults has set `key`.
    pub(super) fn is_explicit(&self, key: &str) -> bool {
        !matches!(self.source(key), SettingSource::Default | SettingSource::Dev | SettingSource::Profile(_))
    }

    /// The value in force in its own type; `None`, and a problem for each invalid value, if a check rejects one.
    pub(super) fn read<T>(&mut self, key: &'static str, check: impl Fn(&Value) -> Checked<T>) -> Option<T> {
        let mut in_force = None;
        for given in self.values.get(key).into_iter().flatten() {
            match check(&given.value) {
                Ok(value) => in_force = Some(value),
                Err(mismatch) => {
                    let wrong = mismatch.part.as_ref().unwrap_or(&given.value);
                    self.problems.push(Problem::Value {
                        source: given.source.clone(),
                        key: key.to_owned(),
                        found: masked(key, wrong).to_string(),
                        expected: mismatch.expected,
                    });
                }
            }
        }
        in_force
    }
}

/// Declares a group of settings: the description, name, type, default and check of each. Generates the struct, its
/// table of keys and the function that reads it.
macro_rules! settings {
    (
        $(#[$about:meta])*
        $visibility:vis struct $group:ident in $prefix:literal {
            $($(#[doc = $meaning:literal])+
            $field:ident: $type:ty = $default:expr, $check:expr;)*
        }
    ) => {
        $(#[$about])*
        #[derive(Clone, Debug)]
        $visibility struct $group {
            $($(#[doc = $meaning])+ pub $field: $type,)*
        }

        impl $group {
            /// The keys of the group, in the order of printing.
            pub(super) const KEYS: &'static [$crate::config::raw::SettingKey] = &[$(
                $crate::config::raw::SettingKey {
                    name: concat!($prefix, stringify!($field)),
                    default: || toml::Value::from($default),
                    shape: <$type as $crate::config::kinds::Shaped>::SHAPE,
                    meaning: concat!($($meaning),+),
                },
            )*];

            /// The group in force; `None` if a value was rejected.
            pub(super) fn read(raw: &mut $crate::config::raw::RawSettings) -> Option<Self> {
                $(let $field = raw.read(concat!($prefix, stringify!($field)), $check);)*
                Some(Self { $($field: $field?),* })
            }
        }
    };
}
pub(super) use settings;
