//! Growth policy for vectors that are numerous and small: capacity grows by a quarter instead of doubling, and shrinks
//! when unused.

/// Appends an entry; a full vector grows by a quarter, at least by two.
pub fn push<T>(entries: &mut Vec<T>, entry: T) {
    if entries.len() == entries.capacity() {
        entries.reserve_exact((entries.len() / 4).max(2));
    }
    entries.push(entry);
}

/// Shrinks the capacity when less than a quarter of it is used.
pub fn shrink<T>(entries: &mut Vec<T>) {
    if entries.capacity() > 4 * entries.len() + 4 {
        entries.shrink_to(2 * entries.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_follows_what_is_there() {
        let mut entries = Vec::new();
        for n in 0..1000 {
            push(&mut entries, n);
            assert!(entries.capacity() <= entries.len() + entries.len() / 4 + 2);
        }
        while entries.pop().is_some() {
            shrink(&mut entries);
            assert!(entries.capacity() <= 4 * entries.len() + 4);
        }
    }
}
