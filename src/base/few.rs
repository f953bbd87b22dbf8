//! A list that nearly always has one entry or none: then it is no larger than that entry, and holds nothing behind it.

/// Entries in the order they came.
#[derive(Clone, Debug, Default)]
pub enum SmallList<T> {
    /// Nothing.
    #[default]
    None,
    /// One entry, here.
    One(T),
    /// Two or more, elsewhere.
    Many(Box<Vec<T>>),
}

impl<T> SmallList<T> {
    /// All entries.
    pub fn as_slice(&self) -> &[T] {
        match self {
            Self::None => &[],
            Self::One(entry) => std::slice::from_ref(entry),
            Self::Many(entries) => entries,
        }
    }

    /// All entries, to be changed.
    pub fn as_mut_slice(&mut self) -> &mut [T] {
        match self {
            Self::None => &mut [],
            Self::One(entry) => std::slice::from_mut(entry),
            Self::Many(entries) => entries,
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.as_slice().len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        matches!(self, Self::None)
    }

    /// Adds an entry behind the others.
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

    /// Takes out the entry at `at`; those behind it move up. `None` when there is none.
    pub fn remove(&mut self, at: usize) -> Option<T> {
        let (removed, rest) = match std::mem::take(self) {
            Self::One(entry) if at == 0 => (Some(entry), Self::None),
            Self::Many(mut entries) if at < entries.len() => {
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
