//! The scripts of what nodes have to do with each other.

use crate::message::redis::Script;

macro_rules! scripts {
    ($($(#[$meta:meta])* $id:ident = $name:literal;)*) => {
        $(
            $(#[$meta])*
            pub(in crate::owner::redis) static $id: Script = Script {
                name: concat!("nodes/", $name),
                source: concat!(
                    include_str!("../lua/prelude.lua"),
                    include_str!("prelude.lua"),
                    include_str!(concat!($name, ".lua"))
                ),
            };
        )*

        /// All of them.
        pub(in crate::owner::redis) static ALL: &[&Script] = &[$(&$id),*];
    };
}

scripts! {
    /// A new node gets a number.
    CLAIM = "claim";
    /// A node says that it is there.
    RENEW = "renew";
    /// A node goes.
    PART = "part";
    /// A node is to clear up after a dead one.
    REAP = "reap";
    /// A dead node's number is free.
    BURY = "bury";
    /// A node begins to have to do with rooms and users, or ends.
    NOTE = "note";
    /// Rooms are listed, or are no longer.
    ENLIST = "enlist";
    /// The rooms that are listed.
    LISTED = "listed";
    /// What a dead node has left behind.
    LEFT = "left";
}
