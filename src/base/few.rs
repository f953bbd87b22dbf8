//! A list optimised for no entry or one: that entry is stored inline, without an allocation.

/// Entries in insertion order.
#[derive(Clone, Debug, Default)]
pub enum SmallList<T> {
    /// No entry.
    #[default]
    None,
    /// One entry, inline.
    One(T),
    /// Two entries or more, on the heap.
    Many(Box<Vec<T>>),
}

impl<T> SmallList<T> {
    /// The entries.
    pub fn as_slice(&self) -> &[T] {
        match self {
            Self::None => &[],
            Self::One(entry) => std::slice::from_ref(entry),
            Self::Many(entries) => entries,
        }
    }

    /// The entries, mutably.
    pub fn as_mut_slice(&mut self) -> &mut [T] {
        match self {
            Self::None => &mut [],
            Self::One(entry) => std::slice::from_mut(entry),
            Self::Many(entries) => entries,
        }
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.as_slice().len()
    }

    /// Whether the list has no entry.
    pub fn is_empty(&self) -> bool {
        matches!(self, Self::None)
    }

    /// Appends an entry.
    pub fn push(&mut self, entry: T) {
        *self = match std::mem::take(self) {
            Self::None => Self::One(entry),
            Self::One(first) => Self::Many(Box::new(vec![first, entry])),
            Self::Many(mut entries) => {
                entries.push(entry);
                Self::Many(entries)
            }
        };
    }

    /// Removes the entry at index `at`, keeping the order of the others. `None` when the index is out of range.
    pub fn remove(&mut self, at: usize) -> Option<T> {
        let (removed, rest) = match std::mem::take(self) {
            Self::One(entry) if at == 0 => (Some(entry), Self::None),
            Self::Many(mut entries) if at < entries.len() => {
                debug_assert!(entries.len() >= 2, "invariant: Many holds two entries or more");
                let removed = entries.remove(at);
                let rest = match entries.len() {
                    1 => entries.pop().map_or(Self::None, Self::One),
                    _ => Self::Many(entries),
                };
                (Some(removed), rest)
            }
            other => (None, other),
        };
        *self = rest;
        removed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_behaves_as_a_vector_does() {
        let (mut few, mut vector) = (SmallList::None, Vec::new());
        for step in 0..200u32 {
            if step % 3 < 2 && vector.len() < 6 || vector.is_empty() {
                few.push(step);
                vector.push(step);
            } else {
                let at = step as usize % vector.len();
                assert_eq!(few.remove(at), Some(vector.remove(at)));
            }
            assert_eq!((few.as_slice(), few.is_empty()), (vector.as_slice(), vector.is_empty()));
        }
        assert_eq!(few.remove(99), None);
    }
}
