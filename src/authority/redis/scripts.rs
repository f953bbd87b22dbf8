//! The scripts, one for each op, and the table of them.

use crate::mail::redis::Script;

macro_rules! scripts {
    ($($(#[$meta:meta])* $id:ident = $name:literal;)*) => {
        $(
            $(#[$meta])*
            pub static $id: Script = Script {
                name: $name,
                source: concat!(include_str!("lua/prelude.lua"), include_str!(concat!("lua/", $name, ".lua"))),
            };
        )*

        /// All of them.
        pub static ALL: &[&Script] = &[$(&$id),*];
    };
}

scripts! {
    /// [`crate::domain::op::RoomOp::Join`].
    JOIN = "join";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_script_says_what_it_mirrors() {
        for script in ALL {
            let own = script.source.strip_prefix(include_str!("lua/prelude.lua")).expect("it begins with the prelude");
            let head = own.lines().next().unwrap_or_default();
            let wanted = format!("-- {}: mirrors domain/", script.name);
            assert!(head.starts_with(&wanted), "{}: {head}", script.name);
        }
    }
}
