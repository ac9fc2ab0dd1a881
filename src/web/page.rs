//! The page that browsers are shown: one HTML file that the listing of a folder is put into, a style, and a few scripts, all of
//! them part of the program.

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
    /// Compressed when it is first wanted so.
    zstd: OnceLock<Vec<u8>>,
}

impl Asset {
    const fn new(name: &'static str, kind: &'static str, text: &'static str) -> Asset {
        Asset { name, kind, text, zstd: OnceLock::new() }
    }
}

static ASSETS: [Asset; 8] = [
    Asset::new("page.css", CSS, include_str!("page/page.css")),
    Asset::new("page.js", JAVASCRIPT, include_str!("page/page.js")),
    Asset::new("queue.js", JAVASCRIPT, include_str!("page/queue.js")),
    Asset::new("upload.js", JAVASCRIPT, include_str!("page/upload.js")),
    Asset::new("talk.js", JAVASCRIPT, include_str!("page/talk.js")),
    Asset::new("hasher.js", JAVASCRIPT, include_str!("page/hasher.js")),
    Asset::new("blake3.js", JAVASCRIPT, include_str!("page/blake3.js")),
    Asset::new("units.js", JAVASCRIPT, include_str!("page/units.js")),
];

/// One of the files of the page.
pub(super) fn asset(name: &str, headers: &HeaderMap) -> Option<Reply> {
    let asset = ASSETS.iter().find(|asset| asset.name == name)?;
    let encodings = headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    let takes_zstd = encodings.flat_map(|value| value.split(',')).any(|coding| coding.trim() == "zstd");
    let compress = || zstd::bulk::compress(asset.text.as_bytes(), LEVEL).unwrap_or_default();
    let packed = takes_zstd.then(|| asset.zstd.get_or_init(compress)).filter(|packed| !packed.is_empty());
    let reply = match packed {
        Some(packed) => {
            Reply::page(StatusCode::OK, asset.kind, &packed[..]).with(header::CONTENT_ENCODING, "zstd")
        }
        None => Reply::page(StatusCode::OK, asset.kind, asset.text),
    };
    // A worker is bound by the policy of its own file.
    Some(reply.with(header::CONTENT_SECURITY_POLICY, POLICY).with(header::VARY, "Accept-Encoding"))
}

/// The page of a folder; of the top there is no path. `list` is what is in it.
pub(super) fn html(path: Option<&RelativePath>, puts: bool, list: &str) -> Reply {
    let name = path.map_or_else(|| b"lanx".to_vec(), |path| path.name().as_bytes().to_vec());
    let (title, heading) = (Html(&name).to_string(), heading(path));
    let values = [
        ("{title}", &*title),
        ("{heading}", &heading),
        ("{put}", if puts { PUT } else { "" }),
        ("{list}", list),
    ];
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

/// The names on the way to a folder, each a link but for the last.
fn heading(path: Option<&RelativePath>) -> String {
    let Some(path) = path else { return "Files".to_owned() };
    let names: Vec<&[u8]> = path.names().collect();
    let mut heading = String::from("<a href=\"/\">Files</a>");
    let mut address = String::from("/");
    for (n, name) in names.iter().enumerate() {
        address += &in_url(name);
        address += "/";
        let name = Html(name);
        heading += &match n + 1 == names.len() {
            true => format!(" / <bdi>{name}</bdi>"),
            false => format!(" / <a href=\"{address}\"><bdi>{name}</bdi></a>"),
        };
    }
    heading
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_of_the_page_is_small_also_where_it_is_not_compressed() {
        let assets: usize = ASSETS.iter().map(|asset| asset.text.len()).sum();
        let all = assets + HTML.len() + PUT.len();
        assert!(all < 60 * 1024, "{all} bytes");
    }

    #[test]
    fn the_way_to_a_folder_is_links_and_no_markup() {
        let path = RelativePath::from_wire(b"a b/<i>/{list}").unwrap();
        let heading = heading(Some(&path));
        let expected = "<a href=\"/\">Files</a> / <a href=\"/a%20b/\"><bdi>a b</bdi></a> / \
            <a href=\"/a%20b/%3Ci%3E/\"><bdi>&lt;i&gt;</bdi></a> / <bdi>{list}</bdi>";
        assert_eq!(heading, expected);
    }
}
