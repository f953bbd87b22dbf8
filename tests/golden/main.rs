//! Golden conversations between clients and the server, one per file, run against the real binary over real sockets:
//! with one shard, with several, so that rooms and users are on other threads than their clients, and with several
//! servers that share a Redis. `README.md` beside the files describes their format.

mod described;
mod pattern;
mod runner;
mod script;
mod scripted_client;
mod servers;
mod socketio_client;

macro_rules! conversations {
    ($($name:ident),+ $(,)?) => {
        /// Every file of this directory, by its name without `.txt`.
        const ALL: &[&str] = &[$(stringify!($name)),+];

        $(
            #[test]
            fn $name() {
                runner::perform(stringify!($name));
            }
        )+

        /// With three servers that share a Redis, and each client at another one than the client before it.
        mod on_several_servers {
            $(
                #[test]
                fn $name() {
                    crate::runner::perform_on_several(stringify!($name));
                }
            )+
        }
    };
}

conversations! {
    authentication,
    camel,
    camel_presence,
    camel_refused,
    camel_sync,
    closing,
    colon_connection,
    colon_counters,
    colon_limits,
    colon_messages,
    colon_messages_refused,
    colon_monitoring,
    colon_online_updates,
    colon_presence,
    colon_presence_in_rooms,
    colon_recovery,
    colon_rooms,
    colon_rooms_refused,
    connection_mode,
    create_on_join_always,
    create_on_join_never,
    create_on_join_seed,
    defaults,
    errors,
    guests,
    history,
    history_off,
    host_removes,
    ice_servers,
    ice_turn_secret,
    interop,
    interop_large_room,
    interop_presence,
    interop_signaling,
    interop_typing,
    joining,
    large_room,
    leaving,
    limits,
    limits_per_minute,
    managed_members,
    managed_rooms,
    meetings,
    member_data,
    messages,
    names,
    notify,
    notify_calls,
    batch,
    publish,
    peer_ids,
    observers,
    people,
    presence,
    presence_appear_offline,
    presence_grace,
    presence_in_rooms,
    presence_recovery,
    private_rooms,
    receipts,
    recovery,
    request_ids,
    room_closed,
    room_full,
    revisions,
    streams,
    rewind,
    rooms,
    signaling,
    socketio_connecting,
    socketio_malformed,
    socketio_older,
    socketio_recovery,
    socketio_token_expires,
    socketio_too_many,
    token_expires,
    typing,
    unread,
}

/// Conversations with a server that shares no Redis.
const ALONE: [&str; 1] = ["media_server"];

#[test]
fn media_server() {
    runner::perform("media_server");
}

#[test]
fn conversations_match_their_files() {
    let files = std::fs::read_dir(runner::DIRECTORY).expect("the directory is there");
    let names = files.map(|file| file.expect("an entry").file_name().into_string().expect("a plain name"));
    let mut found: Vec<String> = names.filter_map(|name| name.strip_suffix(".txt").map(str::to_owned)).collect();
    found.sort();
    let mut listed = [ALL, &ALONE].concat();
    listed.sort_unstable();
    assert_eq!(found, listed);
}
