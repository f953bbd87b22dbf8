//! What a browser gets, embedded into the binary.

/// A file that is served as it is.
#[derive(Clone, Copy, Debug)]
pub struct WebPage {
    /// Its media type.
    pub content_type: &'static str,
    /// Its bytes.
    pub body: &'static [u8],
}

const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";

/// The page that says what runs here.
pub const LANDING: WebPage = WebPage { content_type: HTML, body: include_bytes!("landing.html") };

/// The page that makes a call.
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

/// The asset of that name.
pub fn asset(name: &str) -> Option<WebPage> {
    let (_, content_type, body) = ASSETS.iter().find(|(known, _, _)| *known == name)?;
    Some(WebPage { content_type, body })
}
