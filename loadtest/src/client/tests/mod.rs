//! Conversations: what happens to a client, and what it makes of it, the same for any split of what comes.

mod play;
mod polling;
mod websocket;
