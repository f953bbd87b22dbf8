//! Layers: the order of the top-level modules, and imports between them.

use crate::Violation;
use crate::source::{Source, paths, words};

/// Each top-level module and its layer.
const LAYERS: [(&str, u8); 14] = [
    ("base", 0),
    ("pages", 0),
    ("codec", 2),
    ("domain", 2),
    ("dialect", 4),
    ("message", 5),
    ("connection", 6),
    ("owner", 6),
    ("media", 6),
    ("shard", 8),
    ("runtime", 10),
    ("config", 12),
    ("command_line", 12),
    ("main", 12),
];

/// Modules of one layer that must not import each other.
const SIBLINGS: [(&str, &str); 5] =
    [("codec", "domain"), ("connection", "owner"), ("connection", "media"), ("owner", "media"), ("base", "pages")];

/// The layer of the operating system.
pub(crate) const RUNTIME: u8 = 10;

pub(crate) fn layer_of(module: &str) -> Option<u8> {
    LAYERS.iter().find(|(name, _)| *name == module).map(|(_, layer)| *layer)
}

/// The layer of the module a file belongs to; `None` for the crate's root.
pub(crate) fn layer(source: &Source) -> Option<u8> {
    layer_of(source.top()?)
}

/// The name in the crate's root that `path` starts from, as used in `source`; `None` if it does not pass through the
/// root.
fn in_root<'a>(source: &Source, path: &'a str) -> Option<&'a str> {
    let segments: Vec<&str> = path.split("::").collect();
    let climbs = segments.iter().take_while(|segment| **segment == "super").count();
    let depth = if source.top().is_none() { 0 } else { source.modules().len() };
    match segments.first() {
        Some(&("crate" | "switchboard")) => Some(segments.get(1).copied().unwrap_or("self")),
        Some(&"super") if climbs >= depth => Some(segments.get(climbs).copied().unwrap_or("self")),
        _ => None,
    }
}

pub(crate) fn imports_go_downward(source: &Source) -> Vec<Violation> {
    let (Some(own), Some(layer)) = (source.top(), layer(source)) else { return Vec::new() };
    let mut found = Vec::new();
    for (at, path) in paths(&source.code) {
        // `pub(crate)` names no import.
        let Some(name) = in_root(source, &path).filter(|name| *name != own && path != "crate" && path != "super")
        else {
            continue;
        };
        let Some(other) = layer_of(name) else {
            let what = format!("`{path}` reaches an item past the modules, whose layer is unknown; name its module");
            found.push(Violation::at(source, at, &what));
            continue;
        };
        let is_sideways = SIBLINGS.contains(&(own, name)) || SIBLINGS.contains(&(name, own));
        if other > layer || is_sideways {
            let direction = if is_sideways { "sideways" } else { "upward" };
            found.push(Violation::at(source, at, &format!("`{own}` imports `{name}`: {direction}")));
        }
    }
    found
}

/// Items in the crate's root other than modules: they have no layer, so other modules could import through them.
pub(crate) fn reexports(root: &Source) -> Vec<Violation> {
    let mut found = Vec::new();
    for word in ["use", "extern", "macro_rules", "fn", "struct", "enum", "trait", "type", "const", "static", "impl"] {
        for at in words(&root.code, word) {
            found.push(Violation::at(root, at, &format!("`{word}`: the crate's root only declares modules")));
        }
    }
    for at in words(&root.code, "mod") {
        let rest = root.code[at..].split([';', '{']).next().map_or(0, str::len);
        if root.code[at + rest..].starts_with('{') {
            found.push(Violation::at(root, at, "a module in the crate's root has its own file"));
        }
    }
    found
}

/// What is wrong with the crate's root: each module it declares has a layer and stands in its map.
pub(crate) fn unmapped(root: &str) -> Vec<Violation> {
    let map: String = root.lines().filter(|line| line.starts_with("//!")).collect();
    let mut found = Vec::new();
    for (number, line) in root.lines().enumerate() {
        let declared = line.strip_prefix("pub mod ").or_else(|| line.strip_prefix("mod "));
        let Some(module) = declared.and_then(|rest| rest.strip_suffix(';')) else { continue };
        let mut report = |what: String| {
            let message = format!("src/lib.rs:{}: {what}", number + 1);
            found.push(Violation::new(what, message));
        };
        if layer_of(module).is_none() {
            report(format!("`{module}` has no layer; add it to tests/layering/layers.rs"));
        }
        if words(&map, module).next().is_none() {
            report(format!("`{module}` is not in the map at the top of src/lib.rs"));
        }
    }
    found
}

mod tests {
    use super::*;

    fn lines(path: &str, text: &str) -> Vec<usize> {
        imports_go_downward(&Source::new(path, text)).iter().map(Violation::line).collect()
    }

    #[test]
    fn import_upward_or_sideways_is_found_in_every_spelling() {
        assert_eq!(lines("base/ids.rs", "use crate::domain::op::Op;"), [1]);
        assert_eq!(lines("domain/room.rs", "\nuse crate::{base::Name, codec::ws};"), [2]);
        assert_eq!(lines("domain/room.rs", "use crate::base::{ids,\n map};\nfn a(x: crate::shard::Shard) {}"), [3]);
        assert_eq!(lines("domain/op.rs", "use super::super::shard::Stats;"), [1]);
        assert_eq!(lines("message.rs", "use super::shard::Stats;"), [1]);
        assert_eq!(lines("message.rs", "use crate::codec::jwt::Verifier;"), [0usize; 0]);
        assert_eq!(lines("connection/conn.rs", "use crate::owner::OwnerContract;"), [1]);
        assert_eq!(lines("owner/mod.rs", "use crate::{\n    base::Name,\n    connection::{self, conn}};"), [3, 3]);
        assert_eq!(lines("pages/mod.rs", "use crate::base::Name;"), [1]);
        assert_eq!(lines("shard/mod.rs", "use crate::owner::embedded::EmbeddedOwner; use crate::pages;"), [0usize; 0]);
        assert_eq!(lines("codec/http/mod.rs", "// crate::shard\nconst A: &str = \"crate::shard\";"), [0usize; 0]);
        assert_eq!(lines("codec/a.rs", "#[cfg(test)]\nmod tests { use crate::domain::op::Op; }"), [0usize; 0]);
    }

    #[test]
    fn import_past_the_modules_is_found() {
        assert_eq!(lines("base/ids.rs", "use crate::Shard;"), [1]);
        assert_eq!(lines("base/ids.rs", "use crate::*;"), [1]);
        assert_eq!(lines("base/ids.rs", "use crate::{self as root};"), [1]);
        assert_eq!(lines("base/mod.rs", "use super::*;"), [1]);
        assert_eq!(lines("base/ids.rs", "use super::*;\npub(crate) fn a() {}\npub(super) fn b() {}"), [0usize; 0]);
    }

    #[test]
    fn item_in_the_root_is_found() {
        let found = |text| reexports(&Source::new("lib.rs", text)).len();
        assert_eq!(found("pub mod base;\nmod codec;\n#[cfg(test)]\nmod tests { use a::B; }"), 0);
        assert_eq!(found("pub mod base;\npub use shard::Shard;"), 1);
        assert_eq!(found("pub(crate) use shard::*;"), 1);
        assert_eq!(found("mod shortcut { }"), 1);
        assert_eq!(found("pub type Shard = shard::Shard;"), 1);
    }

    #[test]
    fn module_without_layer_or_documentation_is_found() {
        assert_eq!(unmapped("//! - `base`: ids\n\npub mod base;\npub mod codec;\nmod novel;").len(), 3);
        assert_eq!(unmapped("//! base, and codec.\npub mod base;\npub mod codec;").len(), 0);
    }
}
