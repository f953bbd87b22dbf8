//! HTTP by raw sockets against the real binary: every status there is, framing as clients and attackers write it, tokens
//! wherever they are carried, and what becomes of connections at the end.

mod calls;
mod framing;
mod lifecycle;
mod origins;
mod people;
mod tokens;
