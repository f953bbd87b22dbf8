//! The scripts, one for each op, and the table of them.

use crate::mail::redis::Script;

macro_rules! scripts {
    ($($(#[$meta:meta])* $id:ident = $name:literal $(after $shared:literal)?;)*) => {
        $(
            $(#[$meta])*
            pub static $id: Script = Script {
                name: $name,
                source: concat!(
                    include_str!("lua/prelude.lua"),
                    $(include_str!(concat!("lua/", $shared, ".lua")),)?
                    include_str!(concat!("lua/", $name, ".lua"))
                ),
            };
        )*

        /// All of them.
        pub static ALL: &[&Script] = &[$(&$id),*];
    };
}

scripts! {
    /// [`crate::domain::op::RoomOp::Join`].
    JOIN = "join";
    /// [`crate::domain::op::UserOp::Attach`].
    ATTACH = "attach" after "user";
    /// [`crate::domain::op::UserOp::Detach`].
    DETACH = "detach" after "user";
    /// [`crate::domain::op::UserOp::Introduce`].
    INTRODUCE = "introduce" after "user";
    /// [`crate::domain::op::UserOp::SetStatus`].
    SET_STATUS = "set_status" after "user";
    /// [`crate::domain::op::UserOp::Send`].
    SEND_DIRECT = "send_direct" after "user";
    /// [`crate::domain::op::UserOp::Push`].
    PUSH = "push" after "user";
    /// [`crate::domain::op::UserOp::Connections`].
    CONNECTIONS = "connections" after "user";
    /// [`crate::domain::op::UserOp::Look`].
    LOOK = "look" after "user";
    /// [`crate::domain::op::UserOp::Register`].
    REGISTER = "register" after "user";
    /// [`crate::domain::op::UserOp::Withdraw`].
    WITHDRAW_REGISTRATION = "withdraw_registration" after "user";
    /// [`crate::domain::op::UserOp::SpendRest`].
    SPEND_REST = "spend_rest" after "user";
    /// A connection of a user has a message that was sent to them.
    STRIKE = "strike" after "user";
    /// A user did not come back in time.
    GO_OFFLINE = "go_offline" after "user";
    /// What a user has on one node is said anew.
    RESTORE_USER = "restore_user" after "user";
    /// A node is no more.
    PURGE_USER = "purge_user" after "user";
    /// [`crate::domain::recovery::SessionOp::Keep`].
    KEEP = "keep";
    /// [`crate::domain::recovery::SessionOp::Take`].
    TAKE = "take";
    /// [`crate::domain::recovery::SessionOp::Drop`].
    DROP = "drop";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_script_says_what_it_mirrors() {
        for script in ALL {
            assert!(script.source.starts_with(include_str!("lua/prelude.lua")), "{}", script.name);
            let wanted = format!("-- {}: mirrors domain/", script.name);
            let heads = script.source.lines().filter(|line| line.starts_with(&wanted)).count();
            assert_eq!(heads, 1, "{}", script.name);
        }
    }
}
