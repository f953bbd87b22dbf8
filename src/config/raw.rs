//! The settings before they are checked: for each key every value it was given, lowest source
//! first, each with the place where it was written.
//!
//! [`RawSettings::read`] checks all of a key's values, not only the one in force: a mistake in the file
//! stays a mistake while a flag happens to hide it. Problems are gathered, never thrown, so that
//! one start tells them all.

use std::collections::BTreeMap;

use toml::Value;

use super::error::{Problem, SettingSource};
use super::kinds::{Checked, Shape};
use super::mask::masked;

/// What is known about a key before anybody sets it.
pub(super) struct SettingKey {
    /// The key in full, such as `limits.frame_bytes`.
    pub(super) name: &'static str,
    /// The value when nobody says otherwise.
    pub(super) default: fn() -> Value,
    /// How text from outside the file becomes a value.
    pub(super) shape: Shape,
    /// What the setting means, in a sentence or two.
    pub(super) meaning: &'static str,
}

/// A value and where it was written.
#[derive(Clone)]
pub(super) struct Given {
    pub(super) value: Value,
    pub(super) source: SettingSource,
}

/// All values of all keys, and the problems met so far.
pub(super) struct RawSettings {
    values: BTreeMap<&'static str, Vec<Given>>,
    pub(super) problems: Vec<Problem>,
}

impl RawSettings {
    /// Every key at its default.
    pub(super) fn with_defaults<'a>(keys: impl Iterator<Item = &'a SettingKey>) -> Self {
        let default =
            |key: &SettingKey| (key.name, vec![Given { value: (key.default)(), source: SettingSource::Default }]);
        Self { values: keys.map(default).collect(), problems: Vec::new() }
    }

    /// Gives `key` a value that overrides those it has.
    pub(super) fn put(&mut self, key: &'static str, value: impl Into<Value>, source: SettingSource) {
        let values = self.values.get_mut(key).expect("invariant: only declared keys are set");
        values.push(Given { value: value.into(), source });
    }

    /// The value in force.
    pub(super) fn given(&self, key: &str) -> &Given {
        self.values.get(key).and_then(|given| given.last()).expect("invariant: each declared key has a default")
    }

    /// Where the value in force was written.
    pub(super) fn source(&self, key: &str) -> SettingSource {
        self.given(key).source.clone()
    }

    /// Whether somebody set `key`, be it to its default.
    pub(super) fn is_explicit(&self, key: &str) -> bool {
        !matches!(self.source(key), SettingSource::Default | SettingSource::Dev)
    }

    /// The value in force in its own type; none, and a problem for each wrong value, if a check
    /// refuses one.
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

/// Declares a group of settings: for each its meaning, name, type, default and check, in one
/// place. Makes the struct, its table of keys and the function that reads it.
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
            /// The keys of the group, in the order they are printed.
            pub(super) const KEYS: &'static [$crate::config::raw::SettingKey] = &[$(
                $crate::config::raw::SettingKey {
                    name: concat!($prefix, stringify!($field)),
                    default: || toml::Value::from($default),
                    shape: <$type as $crate::config::kinds::Shaped>::SHAPE,
                    meaning: concat!($($meaning),+),
                },
            )*];

            /// The group as it is in force; none if a value was refused.
            pub(super) fn read(raw: &mut $crate::config::raw::RawSettings) -> Option<Self> {
                $(let $field = raw.read(concat!($prefix, stringify!($field)), $check);)*
                Some(Self { $($field: $field?),* })
            }
        }
    };
}
pub(super) use settings;
