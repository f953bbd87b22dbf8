//! Web pages, scripts and styles, embedded into the binary.

/// A static file.
#[derive(Clone, Copy, Debug)]
pub struct WebPage {
    /// Value of the `Content-Type` header.
    pub content_type: &'static str,
    /// The content of the file.
    pub body: &'static [u8],
}

const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";

/// The landing page, `/`.
pub const LANDING: WebPage = WebPage { content_type: HTML, body: include_bytes!("landing.html") };

/// The demonstration of a call, `/call`.
pub const CALL: WebPage = WebPage { content_type: HTML, body: include_bytes!("call.html") };

/// The scripts and styles of the pages.
const ASSETS: &[(&str, &str, &[u8])] = &[
    ("style.css", STYLE, include_bytes!("style.css")),
    ("call.css", STYLE, include_bytes!("call.css")),
    ("call.js", SCRIPT, include_bytes!("call.js")),
    ("landing.js", SCRIPT, include_bytes!("landing.js")),
    ("media.js", SCRIPT, include_bytes!("media.js")),
    ("peers.js", SCRIPT, include_bytes!("peers.js")),
    ("signaling.js", SCRIPT, include_bytes!("signaling.js")),
    ("ui.js", SCRIPT, include_bytes!("ui.js")),
];

/// The script or style of this name.
pub fn asset(name: &str) -> Option<WebPage> {
    let (_, content_type, body) = ASSETS.iter().find(|(known, _, _)| *known == name)?;
    Some(WebPage { content_type, body })
}
