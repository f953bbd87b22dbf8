//! Violations that exist today, as (test, key). The list matches exactly: a new violation fails, and so does an entry
//! that is no longer violated. The aim is an empty list.

pub(crate) const EXPECTED_VIOLATIONS: &[(&str, &str)] = &[];
