//! Clients that users have: the Socket.IO packages from npm and PyPI, and Chromium, against the real binary.

mod apps;
mod browser_call;
mod browser_media;
mod browser_socketio;
mod conformance;
mod console_page;
mod dashboard_page;
mod deflate;
mod emitters;
mod hooks;
mod pages;
mod profiles;
mod publishing;
mod recovery;
mod switchboard_js;
mod webhooks;
mod websocket_page;
