//! The documentation tells the truth: commands work, snippets run, payloads look like those of real conversations, tables
//! are complete, and links lead somewhere. Covers `README.md` and every other Markdown file outside `src` and `tests`.
//!
//! What is done with a fenced block depends on its language:
//!
//! | language | check |
//! |---|---|
//! | `sh` | runs, file by file in one shell, against a server started with `--dev` ([`commands`]) |
//! | `json` right after `sh` | has the shape of the command's output ([`commands`]) |
//! | other `json` | has the shape of a message in a golden conversation ([`payloads`]) |
//! | `js` | runs in a browser ([`snippets`]) |
//! | `javascript` | runs in Node with the stock `socket.io-client` ([`snippets`]) |
//! | `toml` | is a settings file without mistakes ([`settings`]) |
//! | `text`, `ini`, `nginx`, `dockerfile`, `yaml`, `mermaid` | only read; some lines are checked by [`settings`] |

mod commands;
mod golden;
mod markdown;
mod pages;
mod payloads;
mod project;
mod redis;
mod reference;
mod settings;
mod snippets;
