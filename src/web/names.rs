//! Names on their way into and out of HTTP: paths in a request, file names in a header field, text on a page.

use std::fmt::{self, Write};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, percent_encode};

use crate::name::{BadName, Escaped, RelativePath};

/// The bytes that stand for themselves in a path and in an `ext-value`: those that both RFC 3986 and RFC 8187
/// leave alone.
const KEPT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// What is asked for beneath the root, and whether it has to be a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// `None` for the root itself.
    pub path: Option<RelativePath>,
    pub folder: bool,
}

/// Why a path of a request is none.
#[derive(Debug, PartialEq, Eq)]
pub enum Unusable {
    /// Not a path at all: 400.
    Malformed,
    /// No file can have it: 404.
    Name(BadName),
}

/// Takes the path of a request apart.
///
/// # Errors
/// It does not begin with a `/`, or what stands between two of them can be no name.
pub fn wanted(path: &str) -> Result<Wanted, Unusable> {
    let below = path.strip_prefix('/').ok_or(Unusable::Malformed)?;
    let has_bad_escape = below.split('%').skip(1).any(|rest| {
        let digits = rest.as_bytes().get(..2);
        !digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    });
    if has_bad_escape {
        return Err(Unusable::Malformed);
    }
    let (below, folder) = below.strip_suffix('/').map_or((below, below.is_empty()), |below| (below, true));
    if below.is_empty() && !path.ends_with("//") {
        return Ok(Wanted { path: None, folder });
    }
    // An escaped slash is a byte of a name, which no name can hold: taken apart first, it cannot make two of
    // one.
    let names: Vec<Vec<u8>> = below.split('/').map(|name| percent_decode_str(name).collect()).collect();
    if let Some(name) = names.iter().find(|name| name.contains(&b'/')) {
        return Err(Unusable::Name(crate::name::Name::from_wire(name).err().ok_or(Unusable::Malformed)?));
    }
    let path = RelativePath::from_wire(&names.join(&b'/')).map_err(Unusable::Name)?;
    Ok(Wanted { path: Some(path), folder })
}

/// A name as a link has it.
#[must_use]
pub fn in_url(name: &[u8]) -> String {
    percent_encode(name, KEPT).to_string()
}

/// `Content-Disposition` of RFC 6266 for a file of this name: for old clients what of it is ASCII and
/// harmless, and for others all of it. Bytes that are no UTF-8 cannot be said there, and are U+FFFD.
#[must_use]
pub fn attachment(name: &[u8]) -> String {
    let text = String::from_utf8_lossy(name);
    let harmless = |c: char| c.is_ascii_graphic() && !matches!(c, '"' | '\\' | '%' | '/') || c == ' ';
    let plain: String = text.chars().map(|c| if harmless(c) { c } else { '_' }).collect();
    let mut value = format!("attachment; filename=\"{plain}\"");
    if plain != text {
        let _ = write!(value, "; filename*=UTF-8''{}", in_url(text.as_bytes()));
    }
    value
}

/// Foreign bytes as text of a page: escaped as for a terminal, and nothing of it is markup.
pub struct Html<'a>(pub &'a [u8]);

impl fmt::Display for Html<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in Escaped(self.0).to_string().chars() {
            match c {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn path(text: &str) -> Option<Vec<u8>> {
        wanted(text).unwrap_or_else(|e| panic!("{text}: {e:?}")).path.map(|path| path.as_bytes().to_vec())
    }

    #[test]
    fn a_path_is_its_names_and_an_escaped_slash_divides_nothing() {
        assert_eq!((path("/"), wanted("/").unwrap().folder), (None, true));
        assert_eq!(path("/a/b%20c").unwrap(), b"a/b c");
        assert_eq!(path("/%ff%0a").unwrap(), b"\xff\n");
        assert_eq!((path("/a/").unwrap(), wanted("/a/").unwrap().folder), (b"a".to_vec(), true));
        assert!(!wanted("/a").unwrap().folder);
        for bad in ["", "a", "*", "/%", "/%4", "/%zz", "/a%2"] {
            assert_eq!(wanted(bad), Err(Unusable::Malformed), "{bad}");
        }
        for bad in [
            "//",
            "/a//b",
            "//a",
            "/..",
            "/../a",
            "/a/..",
            "/%2e%2e/a",
            "/.%2E/a",
            "/a/./b",
            "/a%2fb",
            "/..%2fa",
            "/%2e%2e%2fetc",
            "/a%00",
            "/.a.v2-x.lanx-part",
        ] {
            assert!(matches!(wanted(bad), Err(Unusable::Name(_))), "{bad}: {:?}", wanted(bad));
        }
    }

    #[test]
    fn a_name_in_a_header_field_is_whole_for_new_clients_and_harmless_for_old_ones() {
        for (name, value) in [
            (&b"a b.txt"[..], "attachment; filename=\"a b.txt\""),
            ("ä\"\\.txt".as_bytes(), "attachment; filename=\"___.txt\"; filename*=UTF-8''%C3%A4%22%5C.txt"),
            (b"a\r\nX: y", "attachment; filename=\"a__X: y\"; filename*=UTF-8''a%0D%0AX%3A%20y"),
            (b"\xff", "attachment; filename=\"_\"; filename*=UTF-8''%EF%BF%BD"),
            (b"100%25", "attachment; filename=\"100_25\"; filename*=UTF-8''100%2525"),
        ] {
            assert_eq!(attachment(name), value);
        }
    }

    #[test]
    fn nothing_of_a_name_is_markup() {
        let name = "<img src=x onerror=\"a('b')\">&\u{202e}\n";
        let shown = "&lt;img src=x onerror=&quot;a(&#39;b&#39;)&quot;&gt;&amp;\\u{202e}\\n";
        assert_eq!(Html(name.as_bytes()).to_string(), shown);
    }

    proptest! {
        #[test]
        fn every_name_comes_back_from_its_link(name in proptest::collection::vec(1u8.., 1..40)) {
            if let Ok(name) = crate::name::Name::from_wire(&name) {
                let link = format!("/{}", in_url(name.as_bytes()));
                prop_assert_eq!(path(&link).unwrap(), name.as_bytes());
            }
        }

        #[test]
        fn no_path_leads_out(text in "/[./%2eEfF]{0,20}|/.{0,30}") {
            if let Ok(Wanted { path: Some(path), .. }) = wanted(&text) {
                prop_assert!(path.names().all(|name| !name.is_empty() && name != b"." && name != b".."));
            }
        }
    }
}
