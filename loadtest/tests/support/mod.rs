//! What the tests share.

pub(crate) mod driver;
pub(crate) mod node;
