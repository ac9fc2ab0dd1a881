//! The token of the web door, from where no other user of this machine sees it: a file or the environment.

use std::env;
use std::io::{self, BufRead, Read};
use std::path::Path;

use anyhow::anyhow;
use zeroize::Zeroizing;

use super::error::Failure;
use super::exit::Exit;
use crate::name::Escaped;
use crate::trust::dir;
use crate::trust::dir::Guard;
use crate::web::access::{TOKEN_CHARS_MAX, Token};

/// The variable with a token.
pub const TOKEN_VARIABLE: &str = "LANX_TOKEN";

/// Bytes of a file with a token: its first line, and some more of whatever is behind it.
const FILE_BYTES_MAX: usize = 4096;

/// The token that the user gave: in a file, of which `-` is the standard input, or in the environment. The
/// file comes first.
pub fn given(file: Option<&Path>) -> Result<Option<Token>, Failure> {
    let usage = |error: anyhow::Error| Failure::new(Exit::Usage, error);
    let (text, place) = match file {
        Some(path) if path.as_os_str() == "-" => (from_stdin().map_err(usage)?, "standard input".to_owned()),
        Some(path) => {
            let bytes =
                dir::read(path, Guard::Secret, FILE_BYTES_MAX).map_err(|error| usage(error.into()))?;
            (Zeroizing::new(String::from_utf8_lossy(&bytes).into_owned()), Escaped::path(path).to_string())
        }
        None => {
            let Some(text) = env::var_os(TOKEN_VARIABLE).filter(|text| !text.is_empty()) else {
                return Ok(None);
            };
            (Zeroizing::new(text.to_string_lossy().into_owned()), TOKEN_VARIABLE.to_owned())
        }
    };
    let line = text.lines().next().unwrap_or_default().trim();
    let token = Token::new(line);
    token.map(Some).map_err(|error| usage(anyhow!("{place}: {error}; give the token that lanx serve shows")))
}

fn from_stdin() -> anyhow::Result<Zeroizing<String>> {
    let mut line = Zeroizing::new(String::with_capacity(2 * TOKEN_CHARS_MAX));
    let read = io::stdin().lock().take(FILE_BYTES_MAX as u64).read_line(&mut line);
    read.map_err(|error| anyhow!("cannot read the token from standard input: {error}; give it in a file"))?;
    Ok(line)
}
