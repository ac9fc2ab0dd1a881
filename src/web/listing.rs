//! What a folder is answered with: JSON for programs, and a page of plain links that needs no script.

use std::fmt::Write;
use std::io;
use std::time::{Duration, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;

use super::names::{Html, in_url};
use super::place::{Entry, Folder};
use super::validators::YEAR_10000;
use crate::units;

/// Names in one answer: 10,000 are about 2 MiB. The rest comes with the next one.
const LISTED_MAX: usize = 10_000;

/// What stands before the table. What scripts are needed for is hidden without them.
const TOOLS: &str = "<section id=\"there\" aria-labelledby=\"here\">\n<h2 id=\"here\">Files that are here</h2>\n\
    <div id=\"tools\"><input type=\"search\" id=\"search\" placeholder=\"Search\" aria-label=\"Search\" hidden>\n";

/// The table to its first row.
const TABLE: &str = "<table id=\"list\"><thead><tr><th data-sort=\"name\">Name</th>\
    <th data-sort=\"size\">Size</th><th data-sort=\"mtime\">Modified</th><td></td></tr></thead><tbody>\n";

/// A part of a folder, in the order of the bytes of the names.
#[derive(Debug)]
pub struct Listing {
    own: Option<Entry>,
    entries: Vec<Entry>,
    /// Behind which name the rest is.
    next: Option<Vec<u8>>,
}

#[derive(Serialize)]
struct Told<'a> {
    /// As it stands in the address.
    path: &'a str,
    /// Time and mode of the folder itself.
    #[serde(flatten)]
    own: Option<Dress>,
    entries: Vec<Line>,
    /// The address of the rest, beneath that of the folder.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

#[derive(Serialize)]
struct Line {
    name: String,
    /// The whole name in base64, where it is no UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    name_bytes: Option<String>,
    /// The address beneath that of the folder.
    href: String,
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    #[serde(flatten)]
    dress: Dress,
}

#[derive(Serialize)]
struct Dress {
    mtime_seconds: i64,
    mtime_nanos: i64,
    mode: u32,
}

impl Listing {
    /// The entries behind the name `after`, as many as there is room for.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn of(folder: &Folder, after: Option<&[u8]>) -> io::Result<Listing> {
        let (names, more) = folder.names(after, LISTED_MAX)?;
        let next = if more { names.last().cloned() } else { None };
        Ok(Listing {
            own: folder.own(),
            entries: names.iter().filter_map(|name| folder.entry(name)).collect(),
            next,
        })
    }

    /// As JSON. `path` is the address.
    #[must_use]
    pub fn json(&self, path: &str) -> Vec<u8> {
        let own = self.own.as_ref().map(Dress::of);
        let told =
            Told { path, own, entries: self.entries.iter().map(Line::of).collect(), next: self.next() };
        // Nothing in it can fail: there are no maps, and all of it is text and numbers.
        serde_json::to_vec(&told).unwrap_or_default()
    }

    /// As a part of a page: a table of links that needs no script.
    #[must_use]
    pub fn html(&self) -> String {
        let mut page = String::from(TOOLS);
        let none = if self.entries.is_empty() { " hidden" } else { "" };
        let _ = writeln!(page, "<p id=\"all\"{none}><a href=\"?tar\">Download all (tar)</a></p></div>");
        page += TABLE;
        for entry in &self.entries {
            let Line { href, kind, dress: Dress { mtime_seconds, .. }, .. } = Line::of(entry);
            let (is_folder, name) = (entry.is_folder, Html(&entry.name));
            let _ = write!(page, "<tr data-kind=\"{kind}\" data-mtime=\"{mtime_seconds}\"");
            let _ = match is_folder {
                true => write!(page, "><td><a href=\"{href}\"><bdi>{name}</bdi>/</a></td><td></td>"),
                false => write!(
                    page,
                    " data-size=\"{size}\"><td><a href=\"{href}\"><bdi>{name}</bdi></a></td><td>{}</td>",
                    units::bytes(entry.stamp.size),
                    size = entry.stamp.size
                ),
            };
            let _ = write!(page, "<td><time>{}</time></td><td>", date(mtime_seconds));
            if is_folder {
                let _ = write!(
                    page,
                    "<a href=\"{href}?tar\" aria-label=\"Download (tar): {name}\">Download (tar)</a>"
                );
            }
            page += "</td></tr>\n";
        }
        page += "</tbody></table>\n";
        let hidden = if self.entries.is_empty() { "" } else { " hidden" };
        let _ = writeln!(page, "<p id=\"empty\"{hidden}>Nothing is here yet.</p>");
        if let Some(next) = self.next() {
            let _ = writeln!(page, "<p><a href=\"{next}\">Show more</a></p>");
        }
        page + "</section>\n"
    }

    fn next(&self) -> Option<String> {
        self.next.as_ref().map(|name| format!("?after={}", in_url(name)))
    }
}

/// As HTTP has it: a script makes it local. Empty for what no calendar has.
fn date(seconds: i64) -> String {
    let seconds = u64::try_from(seconds).ok().filter(|seconds| *seconds < YEAR_10000);
    seconds.map_or_else(String::new, |seconds| {
        httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(seconds))
    })
}

impl Line {
    fn of(entry: &Entry) -> Line {
        let slash = if entry.is_folder { "/" } else { "" };
        let text = std::str::from_utf8(&entry.name);
        Line {
            name: String::from_utf8_lossy(&entry.name).into_owned(),
            name_bytes: text.is_err().then(|| STANDARD.encode(&entry.name)),
            // A name with a colon would otherwise be taken for another kind of address.
            href: format!("./{}{slash}", in_url(&entry.name)),
            kind: if entry.is_folder { "folder" } else { "file" },
            size: (!entry.is_folder).then_some(entry.stamp.size),
            dress: Dress::of(entry),
        }
    }
}

impl Dress {
    fn of(entry: &Entry) -> Dress {
        let Entry { stamp, mode, .. } = entry;
        Dress { mtime_seconds: stamp.mtime_seconds, mtime_nanos: stamp.mtime_nanos, mode: *mode }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::os::stamp::Stamp;

    fn listing(names: &[&[u8]], next: Option<&[u8]>) -> Listing {
        let entry = |name: &&[u8]| Entry {
            name: name.to_vec(),
            is_folder: name.ends_with(b"dir"),
            mode: 0o644,
            stamp: Stamp { size: 5, mtime_seconds: 7, mtime_nanos: 9, ..Stamp::default() },
        };
        Listing {
            own: Some(entry(&&b""[..])),
            entries: names.iter().map(entry).collect(),
            next: next.map(<[u8]>::to_vec),
        }
    }

    #[test]
    fn programs_are_told_all_of_each_name() {
        let json = listing(&[b"a b", b"\xff", b"dir"], Some(b"z?")).json("/x/");
        let expected = "{\"path\":\"/x/\",\"mtime_seconds\":7,\"mtime_nanos\":9,\"mode\":420,\"entries\":[\
            {\"name\":\"a b\",\"href\":\"./a%20b\",\"kind\":\"file\",\"size\":5,\"mtime_seconds\":7,\"mtime_nanos\":9,\"mode\":420},\
            {\"name\":\"\u{fffd}\",\"name_bytes\":\"/w==\",\"href\":\"./%FF\",\"kind\":\"file\",\"size\":5,\"mtime_seconds\":7,\"mtime_nanos\":9,\"mode\":420},\
            {\"name\":\"dir\",\"href\":\"./dir/\",\"kind\":\"folder\",\"mtime_seconds\":7,\"mtime_nanos\":9,\"mode\":420}],\
            \"next\":\"?after=z%3F\"}";
        assert_eq!(String::from_utf8(json).unwrap(), expected);
    }

    #[test]
    fn a_page_holds_no_markup_but_its_own() {
        let page = listing(&[b"<script>\"&'", "\u{202e}cod".as_bytes(), b"javascript:x", b"dir"], None);
        let html = page.html();
        assert!(!html.contains("<script") && !html.contains('\u{202e}'), "{html}");
        for link in [
            "<a href=\"./%3Cscript%3E%22%26%27\"><bdi>&lt;script&gt;&quot;&amp;&#39;</bdi></a>",
            "<a href=\"./javascript%3Ax\">",
            "<a href=\"./dir/\"><bdi>dir</bdi>/</a>",
            "<a href=\"./dir/?tar\"",
        ] {
            assert!(html.contains(link), "{link} is not in {html}");
        }
        assert!(!html.contains(">Show more<"));
    }
}
