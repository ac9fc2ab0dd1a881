//! Events for scripts: with `--json` one JSON object a line on stdout. What each field means stands in `docs/json.md`,
//! its form in `docs/events.schema.json`. Nothing else writes them, and nothing below this room knows of them.

use std::io;
use std::net::SocketAddr;

use serde::Serialize;
use serde_json::ser::{Formatter, Serializer};

use super::exit::Exit;
use super::figures::{Figure, Prospect};
use super::outlet::{self, Stream};
use super::results::{File, Sum};
use super::settings::Shown;
use crate::name::is_unsafe_to_show;

/// Which session an event is about. Absent where it is about none.
#[derive(Serialize, Clone, Copy, Default)]
pub struct Whom<'a> {
    /// At a receiver: numbers its sessions from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session: Option<u64>,
    /// The other machine: at a sender as the user wrote it, at a receiver its address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer: Option<&'a str>,
}

#[derive(Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event<'a> {
    /// The receiver takes connections here.
    Listening { addr: SocketAddr, port: u16 },
    /// Other machines find the receiver by this name.
    Announced { name: &'a str },
    /// A receiver that answers on this network.
    Receiver {
        name: &'a str,
        addrs: &'a [SocketAddr],
        port: u16,
        paired: bool,
        #[serde(skip_serializing_if = "Option::is_none")]
        key: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        version: Option<u16>,
    },
    /// The other machine's key is known from now on.
    Paired {
        #[serde(flatten)]
        whom: Whom<'a>,
        key: String,
        by: By,
    },
    /// The receiver serves others first.
    Waiting {
        #[serde(flatten)]
        whom: Whom<'a>,
        /// Transfers that it serves, and how many of them are of the same key.
        serving: u32,
        own: u32,
        /// Senders that come first.
        before: u32,
    },
    /// A session began.
    Start {
        #[serde(flatten)]
        whom: Whom<'a>,
        /// At a sender: the address of the receiver that was reached.
        #[serde(skip_serializing_if = "Option::is_none")]
        addr: Option<SocketAddr>,
    },
    Progress {
        #[serde(flatten)]
        whom: Whom<'a>,
        #[serde(flatten)]
        reached: Reached,
    },
    File {
        #[serde(flatten)]
        whom: Whom<'a>,
        #[serde(flatten)]
        file: File<'a>,
    },
    /// The receiver was lost and is looked for.
    Lost {
        #[serde(flatten)]
        whom: Whom<'a>,
        message: &'a str,
        retry_for: u64,
    },
    /// A session came to its end: every file has its outcome.
    Done {
        #[serde(flatten)]
        whom: Whom<'a>,
        #[serde(flatten)]
        sum: Sum,
    },
    /// How fast something is.
    Measured {
        #[serde(flatten)]
        whom: Whom<'a>,
        #[serde(flatten)]
        figure: Figure,
    },
    /// What the user can do, or should know.
    Advice {
        #[serde(flatten)]
        whom: Whom<'a>,
        topic: &'a str,
        text: &'a str,
        #[serde(skip_serializing_if = "<[String]>::is_empty")]
        commands: &'a [String],
    },
    /// All was measured: what transfers can be expected to reach.
    #[serde(rename = "done")]
    Examined {
        #[serde(flatten)]
        whom: Whom<'a>,
        #[serde(skip_serializing_if = "Option::is_none")]
        sending: Option<Prospect>,
        #[serde(skip_serializing_if = "Option::is_none")]
        receiving: Option<Prospect>,
        code: u8,
    },
    /// An option in force.
    Setting(Shown<'a>),
    /// A session, or without `session` the program, ended before its end.
    Error {
        #[serde(flatten)]
        whom: Whom<'a>,
        code: u8,
        message: &'a str,
        hint: &'a str,
    },
}

/// What a key is trusted for.
#[derive(Serialize, Clone, Copy)]
#[serde(rename_all = "snake_case")]
pub enum By {
    /// Both machines proved that they know the code.
    Code,
    /// The receiver lets everybody in and was seen for the first time.
    FirstSight,
}

/// How far a session has come. None of these ever runs backwards.
#[derive(Serialize, Clone, Copy, Default)]
pub struct Reached {
    /// Files that have an outcome.
    pub files: u64,
    /// Bytes that are where they belong, in files that have an outcome or not.
    pub bytes: u64,
    /// Bytes in all files that are known of so far; absent while a stream has not ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total: Option<u64>,
    /// Of `total`, in steps of 0.1; below 100, as only the end of the session is the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub percent: Option<f64>,
    /// The most that was told of both.
    #[serde(skip)]
    pub most: (u64, f64),
}

/// Escapes whatever could do something to a terminal or hide in it. JSON alone would let most of that pass; for who
/// parses it, it is the same text.
struct Harmless;

impl Formatter for Harmless {
    fn write_string_fragment<W: ?Sized + io::Write>(&mut self, out: &mut W, text: &str) -> io::Result<()> {
        // Nearly all of it; character by character it would take longer than all the rest of a small file's event.
        if text.bytes().fold(true, |plain, byte| plain & matches!(byte, b' '..=b'~')) {
            return out.write_all(text.as_bytes());
        }
        let mut rest = text;
        while let Some((at, c)) = rest.char_indices().find(|(_, c)| is_unsafe_to_show(*c)) {
            let (plain, from) = rest.split_at(at);
            out.write_all(plain.as_bytes())?;
            for unit in c.encode_utf16(&mut [0; 2]) {
                write!(out, "\\u{unit:04x}")?;
            }
            rest = &from[c.len_utf8()..];
        }
        out.write_all(rest.as_bytes())
    }
}

fn encode(event: &Event) -> serde_json::Result<Vec<u8>> {
    let mut line = Vec::with_capacity(256);
    event.serialize(&mut Serializer::with_formatter(&mut line, Harmless))?;
    line.push(b'\n');
    Ok(line)
}

/// Writes one event. A reader that has left misses it; the transfer does not depend on that.
pub fn write(event: &Event) {
    hand_out(event, outlet::keep);
}

/// The same of one that says no more than a later one will, and so is left out where many are unread.
pub fn write_if_room(event: &Event) {
    hand_out(event, outlet::say_if_room);
}

fn hand_out(event: &Event, out: fn(Stream, Vec<u8>)) {
    match encode(event) {
        Ok(line) => out(Stream::Stdout, line),
        Err(error) => tracing::error!("an event cannot be written as JSON: {error}"),
    }
}

/// Whether there are few events that nobody has read yet.
pub fn has_room() -> bool {
    outlet::has_room(Stream::Stdout)
}

/// Writes what ended the session, or without one the program.
pub fn error(session: Option<u64>, peer: Option<&str>, exit: Exit, message: &str, hint: &str) {
    write(&Event::Error { whom: Whom { session, peer }, code: exit.code(), message, hint });
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;

    use super::*;
    use crate::cli::results::Status;

    fn line(path: &[u8]) -> String {
        let file = File::not_offered(path, Status::Failed, "gone".into());
        let event = Event::File { whom: Whom { session: None, peer: Some("nas") }, file };
        String::from_utf8(encode(&event).unwrap()).unwrap()
    }

    #[test]
    fn the_line_of_a_receiver_that_listens_is_pinned() {
        let addr = "127.0.0.1:40123".parse().unwrap();
        let line = encode(&Event::Listening { addr, port: 40123 }).unwrap();
        assert_eq!(line, b"{\"event\":\"listening\",\"addr\":\"127.0.0.1:40123\",\"port\":40123}\n");
    }

    #[test]
    fn text_that_could_act_on_a_terminal_is_escaped_and_comes_back_whole() {
        let name = "a\u{1b}[31m\u{9b}2J\u{202e}\u{e0041}\u{7f}\n\"\\ö😀";
        let line = line(name.as_bytes());
        assert!(line.contains(r#""a\u001b[31m\u009b2J\u202e\udb40\udc41\u007f\n\"\\ö😀""#), "{line}");
        assert_eq!(line.matches('\n').count(), 1);
        let parsed: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(parsed["path"], name);
        assert_eq!(parsed.get("path_bytes"), None);
    }

    #[test]
    fn a_name_that_is_no_text_comes_back_whole_from_its_bytes() {
        let name = b"caf\xe9\xff.txt";
        let parsed: serde_json::Value = serde_json::from_str(&line(name)).unwrap();
        assert_eq!(parsed["path"], "caf\u{fffd}\u{fffd}.txt");
        assert_eq!(STANDARD.decode(parsed["path_bytes"].as_str().unwrap()).unwrap(), name);
    }

    #[test]
    fn a_replacement_character_that_is_in_the_name_is_just_that() {
        let parsed: serde_json::Value = serde_json::from_str(&line("\u{fffd}".as_bytes())).unwrap();
        assert_eq!((&parsed["path"], parsed.get("path_bytes")), (&"\u{fffd}".into(), None));
    }
}
