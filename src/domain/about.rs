//! How a member presents itself in a room.

use crate::base::Name;

/// Before the mark and the data in a packed text. JSON has no such character, so the last one is found.
const SEPARATOR: char = '\0';

/// How a member presents itself: the name to show, if it differs from the username, its data, and whether it observes only. It
/// takes no more than the name: members with data, and observers, have all in one text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct About(Option<Name>);

impl About {
    /// What a member shows: a name that is not empty, and data that is valid JSON.
    pub fn new(display_name: Option<&str>, data: Option<&str>, is_observer: bool) -> Self {
        debug_assert!(display_name != Some(""), "invariant: a name to show is not empty");
        debug_assert!(data.is_none_or(|data| !data.contains(SEPARATOR)), "invariant: data is JSON");
        let name = display_name.unwrap_or_default();
        if data.is_none() && !is_observer && !name.contains(SEPARATOR) {
            return Self(display_name.map(Into::into));
        }
        let mark = if is_observer { 'o' } else { '-' };
        Self(Some(format!("{name}{SEPARATOR}{mark}{}", data.unwrap_or_default()).into()))
    }

    /// From [`Self::packed`].
    pub fn from_packed(packed: Option<Name>) -> Self {
        Self(packed)
    }

    /// All of it in one text; `None` for a member that shows its username only.
    pub fn packed(&self) -> Option<&Name> {
        self.0.as_ref()
    }

    /// The name to show, if it differs from the username.
    pub fn display_name(&self) -> Option<&str> {
        let packed = self.0.as_deref()?;
        let name = packed.rsplit_once(SEPARATOR).map_or(packed, |(name, _)| name);
        (!name.is_empty()).then_some(name)
    }

    /// As [`Self::display_name`], to keep. It is shared unless the member has data.
    pub fn shared_name(&self) -> Option<Name> {
        match &self.0 {
            Some(packed) if packed.contains(SEPARATOR) => self.display_name().map(Into::into),
            shared => shared.clone(),
        }
    }

    /// The member's data, as JSON.
    pub fn data(&self) -> Option<&str> {
        self.rest().map(|rest| &rest[1..]).filter(|data| !data.is_empty())
    }

    /// Whether the member only receives, unknown to the others.
    pub fn is_observer(&self) -> bool {
        self.rest().is_some_and(|rest| rest.starts_with('o'))
    }

    /// The mark and the data.
    fn rest(&self) -> Option<&str> {
        let (_, rest) = self.0.as_deref()?.rsplit_once(SEPARATOR)?;
        rest.starts_with(['o', '-']).then_some(rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_part_is_read_as_it_was_given_and_costs_nothing_where_it_is_not() {
        assert_eq!(size_of::<About>(), size_of::<Option<Name>>());
        for name in [None, Some("Ann"), Some("a\0b"), Some("a\0-b")] {
            for data in [None, Some("{\"a\":\"\\u0000\"}"), Some("null")] {
                for is_observer in [false, true] {
                    let about = About::new(name, data, is_observer);
                    let about = About::from_packed(about.packed().cloned());
                    assert_eq!((about.display_name(), about.data(), about.is_observer()), (name, data, is_observer));
                    assert_eq!(about.shared_name().as_deref(), name);
                }
            }
        }
        assert_eq!(About::new(None, None, false), About::default());
        let shared = About::new(Some("Ann"), None, false);
        assert!(Name::ptr_eq(shared.packed().unwrap(), &shared.shared_name().unwrap()), "no copy");
    }
}
