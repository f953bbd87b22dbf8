//! Each operation has a Lua script, and each script has an operation or a purpose of the Redis owner.

use std::collections::BTreeSet;

use switchboard::owner::redis::scripts;

/// The variants of an enum, from its source.
fn acts_of<'a>(source: &'a str, name: &str) -> impl Iterator<Item = &'a str> {
    let start = source.find(&format!("pub enum {name} {{")).expect("the enum is there");
    let body = source[start..].lines().skip(1).take_while(|line| *line != "}");
    let acts = body.filter_map(|line| line.strip_prefix("    ").filter(|line| line.starts_with(char::is_uppercase)));
    acts.map(|line| line.split(|character: char| !character.is_alphanumeric()).next().unwrap_or_default())
}

/// `SetStatus` as `set_status`.
fn snake_case(name: &str) -> String {
    let mut text = String::new();
    for character in name.chars() {
        if character.is_uppercase() && !text.is_empty() {
            text.push('_');
        }
        text.extend(character.to_lowercase());
    }
    text
}

#[test]
fn each_op_has_a_script_of_its_name() {
    let rooms = include_str!("../../src/domain/op/room.rs");
    let users = include_str!("../../src/domain/op/user.rs");
    let sessions = include_str!("../../src/domain/recovery.rs");
    let mut wanted: BTreeSet<String> = acts_of(rooms, "RoomOp").map(snake_case).collect();
    for act in acts_of(users, "UserOp").map(snake_case) {
        // Rooms have operations of these names, too.
        wanted.insert(match act.as_str() {
            "send" => "send_direct".to_owned(),
            "describe" => "describe_user".to_owned(),
            _ => act,
        });
    }
    wanted.extend(acts_of(sessions, "SessionOp").map(snake_case));
    assert!(wanted.len() > 35, "{wanted:?}");
    // Scripts of deferred work and of repairs.
    let own = [
        "announce",
        "count",
        "return_mode",
        "end_streams",
        "since",
        "purge",
        "discard",
        "end_idle",
        "lease",
        "ack_direct",
        "go_offline",
        "restore_user",
        "purge_user",
        "enroll",
        "rooms_of",
        "revocations/change",
        "revocations/list",
        "hooks/dead_letters",
        "hooks/replay",
    ];
    wanted.extend(own.map(str::to_owned));
    let scripts: BTreeSet<String> = scripts::ALL.iter().map(|script| script.name.to_owned()).collect();
    assert_eq!(scripts, wanted);
}
