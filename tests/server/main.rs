//! The real binary over real sockets: raw WebSocket clients, the command line, limits and quotas, presence, drain, and
//! input that no correct client sends.

mod access;
mod audit;
mod backups;
mod bounds;
mod budgets;
mod command_line;
mod connection_attempts;
mod doctor;
mod drain;
mod exposure;
mod handshakes;
mod hosts;
mod limits;
mod listeners;
mod logging;
mod malformed_input;
mod media;
mod metrics;
mod notices;
mod packages;
mod portable_json;
mod presence;
mod proxy_protocol;
mod quotas;
mod reload;
mod revocations;
mod seeds;
mod service_manager;
mod shards;
mod smoke;
mod sockets;
mod tls;
mod webhook_limits;
mod webhooks;
mod websocket;
