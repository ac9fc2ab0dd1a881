//! The page that browsers are shown: one HTML file that the listing of a folder is put into, a style, and a
//! few scripts, all of them part of the program.

use std::sync::OnceLock;

use hyper::StatusCode;
use hyper::header::{self, HeaderMap};

use super::names::{Html, in_url};
use super::reply::Reply;
use crate::name::RelativePath;

/// No style, script or connection from anywhere but here, none that is part of a page, and nobody's frame.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; worker-src 'self'; \
    img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const HTML: &str = include_str!("page/page.html");

/// What of it is for those who may put files here.
const PUT: &str = include_str!("page/put.html");

const JAVASCRIPT: &str = "text/javascript; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";

/// How well what the page consists of is compressed: once, so it may take a while.
const LEVEL: i32 = 19;

/// A file that the page needs, under `/.lanx/`.
struct Asset {
    name: &'static str,
    kind: &'static str,
    text: &'static str,
    /// What of it travels.
    lean: OnceLock<String>,
    /// Compressed when it is first wanted so.
    zstd: OnceLock<Vec<u8>>,
}

impl Asset {
    const fn new(name: &'static str, kind: &'static str, text: &'static str) -> Asset {
        Asset { name, kind, text, lean: OnceLock::new(), zstd: OnceLock::new() }
    }

    fn text(&'static self) -> &'static str {
        match self.kind {
            JAVASCRIPT => self.lean.get_or_init(|| lean(self.text)),
            _ => self.text,
        }
    }
}

static ASSETS: [Asset; 12] = [
    Asset::new("page.css", CSS, include_str!("page/page.css")),
    Asset::new("page.js", JAVASCRIPT, include_str!("page/page.js")),
    Asset::new("dom.js", JAVASCRIPT, include_str!("page/dom.js")),
    Asset::new("list.js", JAVASCRIPT, include_str!("page/list.js")),
    Asset::new("row.js", JAVASCRIPT, include_str!("page/row.js")),
    Asset::new("sums.js", JAVASCRIPT, include_str!("page/sums.js")),
    Asset::new("queue.js", JAVASCRIPT, include_str!("page/queue.js")),
    Asset::new("upload.js", JAVASCRIPT, include_str!("page/upload.js")),
    Asset::new("talk.js", JAVASCRIPT, include_str!("page/talk.js")),
    Asset::new("hasher.js", JAVASCRIPT, include_str!("page/hasher.js")),
    Asset::new("blake3.js", JAVASCRIPT, include_str!("page/blake3.js")),
    Asset::new("units.js", JAVASCRIPT, include_str!("page/units.js")),
];

/// A script without what only its reader needs: indentation, and lines that are comments. No text in it has
/// several lines.
fn lean(script: &str) -> String {
    let lines =
        script.lines().map(str::trim_start).filter(|line| !line.is_empty() && !line.starts_with("//"));
    lines.flat_map(|line| [line, "\n"]).collect()
}

/// One of the files of the page.
pub(super) fn asset(name: &str, headers: &HeaderMap) -> Option<Reply> {
    let asset = ASSETS.iter().find(|asset| asset.name == name)?;
    let encodings = headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    let takes_zstd = encodings.flat_map(|value| value.split(',')).any(|coding| coding.trim() == "zstd");
    let compress = || zstd::bulk::compress(asset.text().as_bytes(), LEVEL).unwrap_or_default();
    let packed = takes_zstd.then(|| asset.zstd.get_or_init(compress)).filter(|packed| !packed.is_empty());
    let reply = match packed {
        Some(packed) => {
            Reply::page(StatusCode::OK, asset.kind, &packed[..]).with(header::CONTENT_ENCODING, "zstd")
        }
        None => Reply::page(StatusCode::OK, asset.kind, asset.text()),
    };
    // A worker is bound by the policy of its own file.
    Some(reply.with(header::CONTENT_SECURITY_POLICY, POLICY).with(header::VARY, "Accept-Encoding"))
}

/// The page of a folder; of the top there is no path. `top` is what that is called, `list` what is in the
/// folder, if it may be seen.
pub(super) fn html(top: Option<&[u8]>, path: Option<&RelativePath>, puts: bool, list: &str) -> Reply {
    let system = rustix::system::uname();
    let host = system.nodename().to_bytes();
    let name = path.and_then(|path| path.names().last()).or(top);
    let title =
        name.map_or_else(|| Html(host).to_string(), |name| format!("{} on {}", Html(name), Html(host)));
    let heading = heading(top, path, host, !list.is_empty());
    let put = if puts { PUT.replace("{host}", &Html(host).to_string()) } else { String::new() };
    let values = [("{title}", &*title), ("{heading}", &heading), ("{put}", &*put), ("{list}", list)];
    // In the order in which they stand there, so that nothing in a value is taken for a place.
    let (mut page, mut rest) = (String::new(), HTML);
    for (mark, value) in values {
        let (before, after) = rest.split_once(mark).unwrap_or((rest, ""));
        page += before;
        page += value;
        rest = after;
    }
    page += rest;
    let reply = Reply::page(StatusCode::OK, "text/html; charset=utf-8", page);
    reply.with(header::CONTENT_SECURITY_POLICY, POLICY)
}

/// What one looks at: the names on the way to the folder, each a link but for the last, and the machine.
fn heading(top: Option<&[u8]>, path: Option<&RelativePath>, host: &[u8], is_listed: bool) -> String {
    let host = Html(host);
    let here = match (top, path) {
        (None, None) => return format!("Files <small>on <bdi>{host}</bdi></small>"),
        (top, None) => format!("<bdi>{}</bdi>", Html(top.unwrap_or_default())),
        (top, Some(path)) => {
            let top = top.map_or_else(|| "all".to_owned(), |top| Html(top).to_string());
            let (mut way, mut address) = (format!("<a href=\"/\"><bdi>{top}</bdi></a>"), String::from("/"));
            let names: Vec<&[u8]> = path.names().collect();
            for (n, name) in names.iter().enumerate() {
                address += &in_url(name);
                address += "/";
                let name = Html(name);
                way += &match n + 1 == names.len() {
                    true => format!(" / <bdi>{name}</bdi>"),
                    false => format!(" / <a href=\"{address}\"><bdi>{name}</bdi></a>"),
                };
            }
            way
        }
    };
    let what = if is_listed { "Files in" } else { "Send files to" };
    format!("{what} {here} <small>on <bdi>{host}</bdi></small>")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_of_the_page_is_small_on_the_way_also_where_it_is_not_compressed() {
        let assets: usize = ASSETS.iter().map(|asset| asset.text().len()).sum();
        let all = assets + HTML.len() + PUT.len();
        assert!(all < 60 * 1024, "{all} bytes");
    }

    #[test]
    fn of_a_script_all_travels_but_indentation_and_comments() {
        let script = "// Says.\nif (a) {\n  // Why.\n  b(\"//c\"); // d\n\n}\n";
        assert_eq!(lean(script), "if (a) {\nb(\"//c\"); // d\n}\n");
        for asset in ASSETS.iter().filter(|asset| asset.kind == JAVASCRIPT) {
            // Within a text of several lines they would be part of it.
            let odd = asset.text.lines().find(|line| line.matches('`').count() % 2 == 1);
            assert_eq!(odd, None, "{}", asset.name);
        }
    }

    #[test]
    fn the_way_to_a_folder_is_links_and_no_markup() {
        let path = RelativePath::from_wire(b"a b/<i>/{list}").unwrap();
        let way = heading(Some(b"<in>"), Some(&path), b"n&s", true);
        let expected = "Files in <a href=\"/\"><bdi>&lt;in&gt;</bdi></a> / <a href=\"/a%20b/\"><bdi>a b</bdi></a> / \
            <a href=\"/a%20b/%3Ci%3E/\"><bdi>&lt;i&gt;</bdi></a> / <bdi>{list}</bdi> <small>on <bdi>n&amp;s</bdi></small>";
        assert_eq!(way, expected);
        let drop = heading(Some(b"in"), None, b"nas", false);
        assert_eq!(drop, "Send files to <bdi>in</bdi> <small>on <bdi>nas</bdi></small>");
        assert_eq!(heading(None, None, b"nas", true), "Files <small>on <bdi>nas</bdi></small>");
    }
}
