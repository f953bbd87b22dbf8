//! HTTP over raw sockets against the real binary: every status, framing as clients and attackers write it, tokens in
//! every carrier, and the end of connections.

mod calls;
mod framing;
mod grants;
mod issuers;
mod kept;
mod keys;
mod lifecycle;
mod openapi;
mod origins;
mod repeats;
mod revised;
mod rooms;
mod tokens;
mod tracing;
mod users;
