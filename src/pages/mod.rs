//! Web pages, scripts and styles, and the browser bundles of Socket.IO's client, embedded into the binary.

use std::borrow::Cow;
use std::hash::{BuildHasher, Hasher};
use std::io::Read;
use std::sync::OnceLock;

use flate2::Compression;
use flate2::read::{GzDecoder, GzEncoder};
use foldhash::quality::FixedState;

/// A static file.
#[derive(Clone, Copy, Debug)]
pub struct WebPage {
    /// Value of the `Content-Type` header.
    pub content_type: &'static str,
    /// The content of the file.
    pub body: &'static [u8],
    /// Whether the content is compressed with gzip.
    pub is_gzip: bool,
    /// Whether pages of other origins may load it.
    pub is_shared: bool,
}

impl WebPage {
    const fn plain(content_type: &'static str, body: &'static [u8]) -> Self {
        Self { content_type, body, is_gzip: false, is_shared: false }
    }

    /// The entity tag of the content as it is sent, with or without its compression.
    pub fn entity_tag(&self, is_gzip: bool) -> String {
        let mut hasher = FixedState::with_seed(0).build_hasher();
        hasher.write(self.body);
        format!("\"{:016x}{}\"", hasher.finish(), if is_gzip { "-gzip" } else { "" })
    }

    /// The content without compression.
    pub fn unpacked(&self) -> Cow<'static, [u8]> {
        if !self.is_gzip {
            return Cow::Borrowed(self.body);
        }
        let mut body = Vec::new();
        GzDecoder::new(self.body).read_to_end(&mut body).expect("invariant: an embedded file is intact");
        Cow::Owned(body)
    }
}

const HTML: &str = "text/html; charset=utf-8";
const JSON: &str = "application/json; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const TEXT: &str = "text/plain; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";

/// The landing page, `/`.
pub const LANDING: WebPage = WebPage::plain(HTML, include_bytes!("landing.html"));

/// The demonstration of a call, `/call`.
pub const CALL: WebPage = WebPage::plain(HTML, include_bytes!("call.html"));

/// Files for trying the push dialect out: a page, its script, and calls for an HTTP client.
const TEST_FILES: &[(&str, &str, &[u8])] = &[
    ("/websocket-client.html", HTML, include_bytes!("websocket-client.html")),
    ("/websocket-client.js", SCRIPT, include_bytes!("websocket-client.js")),
    ("/testing-websocket.http", TEXT, include_bytes!("testing-websocket.http")),
];

/// The file for trying the push dialect out that has this path.
pub fn test_file(path: &str) -> Option<WebPage> {
    let (_, content_type, body) = TEST_FILES.iter().find(|(known, _, _)| *known == path)?;
    Some(WebPage::plain(content_type, body))
}

/// The scripts and styles of the pages.
const ASSETS: &[(&str, &str, &[u8])] = &[
    ("style.css", STYLE, include_bytes!("style.css")),
    ("call.css", STYLE, include_bytes!("call.css")),
    ("call.js", SCRIPT, include_bytes!("call.js")),
    ("callchat.js", SCRIPT, include_bytes!("callchat.js")),
    ("callcontrols.js", SCRIPT, include_bytes!("callcontrols.js")),
    ("callpaths.js", SCRIPT, include_bytes!("callpaths.js")),
    ("callserver.js", SCRIPT, include_bytes!("callserver.js")),
    ("dashboard.html", HTML, include_bytes!("dashboard.html")),
    ("dashboard.css", STYLE, include_bytes!("dashboard.css")),
    ("dashboard.js", SCRIPT, include_bytes!("dashboard.js")),
    ("console.html", HTML, include_bytes!("console.html")),
    ("console.css", STYLE, include_bytes!("console.css")),
    ("console.js", SCRIPT, include_bytes!("console.js")),
    ("landing.js", SCRIPT, include_bytes!("landing.js")),
    ("media.js", SCRIPT, include_bytes!("media.js")),
    ("peers.js", SCRIPT, include_bytes!("peers.js")),
    ("signaling.js", SCRIPT, include_bytes!("signaling.js")),
    ("page.js", SCRIPT, include_bytes!("page.js")),
    ("operations.js", SCRIPT, include_bytes!("operations.js")),
    ("icon.svg", "image/svg+xml", include_bytes!("icon.svg")),
    ("ui.js", SCRIPT, include_bytes!("ui.js")),
    ("favicon.ico", "image/x-icon", include_bytes!("favicon.ico")),
    ("robots.txt", TEXT, include_bytes!("robots.txt")),
    ("openapi.json", JSON, include_bytes!("openapi.json")),
    ("asyncapi.json", JSON, include_bytes!("asyncapi.json")),
    ("docs.html", HTML, include_bytes!("docs.html")),
    ("docs.css", STYLE, include_bytes!("docs.css")),
    ("docs.js", SCRIPT, include_bytes!("docs.js")),
];

/// The client of the raw protocol, for the pages of applications: as `clients/js/build.mjs` has made it.
const LIBRARY: &[(&str, &str, &[u8])] = &[
    ("switchboard.js", SCRIPT, include_bytes!("../../clients/js/dist/switchboard.js")),
    ("switchboard.mjs", SCRIPT, include_bytes!("../../clients/js/dist/switchboard.mjs")),
    ("switchboard-fallback.mjs", SCRIPT, include_bytes!("../../clients/js/dist/switchboard-fallback.mjs")),
    ("switchboard.d.ts", TEXT, include_bytes!("../../clients/js/src/switchboard.d.ts")),
    ("switchboard-react.mjs", SCRIPT, include_bytes!("../../clients/js/dist/switchboard-react.mjs")),
];

/// The compressed files of the tables above, each made when it is first asked for.
static PACKED: [OnceLock<Vec<u8>>; ASSETS.len() + LIBRARY.len()] =
    [const { OnceLock::new() }; ASSETS.len() + LIBRARY.len()];

/// The browser bundles of the npm package socket.io-client 4.8.4 (MIT licence, in the comment at their head).
const CLIENT_BUNDLES: &[(&str, &[u8])] = &[
    ("socket.io.js", include_bytes!("socketio/socket.io.js.gz")),
    ("socket.io.js.map", include_bytes!("socketio/socket.io.js.map.gz")),
    ("socket.io.min.js", include_bytes!("socketio/socket.io.min.js.gz")),
    ("socket.io.min.js.map", include_bytes!("socketio/socket.io.min.js.map.gz")),
    ("socket.io.esm.min.js", include_bytes!("socketio/socket.io.esm.min.js.gz")),
    ("socket.io.esm.min.js.map", include_bytes!("socketio/socket.io.esm.min.js.map.gz")),
    ("socket.io.msgpack.min.js", include_bytes!("socketio/socket.io.msgpack.min.js.gz")),
    ("socket.io.msgpack.min.js.map", include_bytes!("socketio/socket.io.msgpack.min.js.map.gz")),
];

/// The script, style or other file of this name.
pub fn asset(name: &str) -> Option<WebPage> {
    let (place, (_, content_type, body)) =
        ASSETS.iter().chain(LIBRARY).enumerate().find(|(_, (known, _, _))| *known == name)?;
    let body = PACKED[place].get_or_init(|| {
        let mut packed = Vec::new();
        GzEncoder::new(*body, Compression::best()).read_to_end(&mut packed).expect("invariant: memory is readable");
        packed
    });
    Some(WebPage { content_type, body, is_gzip: true, is_shared: place >= ASSETS.len() })
}

/// The file of the dashboard of this name, which a listener for operators serves, too.
pub fn dashboard_file(name: &str) -> Option<WebPage> {
    ["dashboard.html", "dashboard.css", "dashboard.js", "icon.svg", "page.js", "style.css"]
        .contains(&name)
        .then(|| asset(name))?
}

/// The file of Socket.IO's client of this name.
pub fn client_bundle(name: &str) -> Option<WebPage> {
    let (_, body) = CLIENT_BUNDLES.iter().find(|(known, _)| *known == name)?;
    let content_type = if name.ends_with(".map") { JSON } else { SCRIPT };
    Some(WebPage { content_type, body, is_gzip: true, is_shared: true })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn assets_unpack_to_what_was_embedded() {
        for (name, _, body) in ASSETS.iter().chain(LIBRARY) {
            let page = asset(name).expect("it is embedded");
            assert!(page.unpacked() == *body && page.is_gzip, "{name}");
            assert_eq!(page.is_shared, name.starts_with("switchboard"), "{name}");
        }
    }

    #[test]
    fn client_bundles_unpack_to_scripts_with_their_licence() {
        for (name, _) in CLIENT_BUNDLES {
            let page = client_bundle(name).expect("it is embedded");
            let text = String::from_utf8(page.unpacked().into_owned()).expect("text");
            match name.ends_with(".map") {
                true => assert!(text.starts_with('{'), "{name}"),
                false => {
                    assert!(text.contains("Released under the MIT License"), "{name}");
                    assert!(text.contains(&format!("sourceMappingURL={name}.map")), "{name}");
                }
            }
            assert_ne!(page.entity_tag(true), page.entity_tag(false));
        }
    }
}
