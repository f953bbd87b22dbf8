//! A room as a node with members in it follows it.

/// See the module.
#[derive(Default)]
pub(super) struct Followed {}
