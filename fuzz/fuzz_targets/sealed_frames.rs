//! Frames on a data connection on which somebody changes, drops and inserts bytes: what opens is what was
//! sealed, in order, from the first on; whatever else comes is a forgery or a loss.
#![no_main]

use arbitrary::Arbitrary;
use lanx::content::chunk::{ChunkIndex, FileId};
use lanx::session::End;
use lanx::session::frames::{FrameReader, FrameWriter};
use lanx::wire::frame::{Header, Kind};
use lanx_fuzz::keys;
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
struct Case {
    payloads: Vec<Vec<u8>>,
    changes: Vec<Change>,
}

/// What somebody on the way does to the stream, at a place counted from its beginning.
#[derive(Arbitrary, Debug)]
enum Change {
    Flip {
        at: u16,
        mask: u8,
    },
    Cut {
        at: u16,
    },
    Insert {
        at: u16,
        bytes: Vec<u8>,
    },
    Remove {
        at: u16,
        count: u8,
    },
    /// A part of the stream, once more.
    Repeat {
        from: u16,
        count: u16,
    },
}

fn change(stream: &mut Vec<u8>, change: &Change) {
    let within = |at: u16, len: usize| usize::from(at).min(len);
    let len = stream.len();
    match change {
        Change::Flip { at, mask } => {
            if let Some(byte) = stream.get_mut(usize::from(*at)) {
                *byte ^= mask;
            }
        }
        Change::Cut { at } => stream.truncate((*at).into()),
        Change::Insert { at, bytes } => {
            drop(stream.splice(within(*at, len)..within(*at, len), bytes.iter().copied()))
        }
        Change::Remove { at, count } => {
            let from = within(*at, len);
            stream.drain(from..(from + usize::from(*count)).min(len));
        }
        Change::Repeat { from, count } => {
            let from = within(*from, len);
            let part = stream[from..(from + usize::from(*count)).min(len)].to_vec();
            stream.extend(part);
        }
    }
}

fuzz_target!(|case: Case| {
    let (sealer, opener) = keys(0);
    let mut stream = Vec::new();
    let mut writer = FrameWriter::new(&mut stream, sealer);
    let header = |n: usize, payload: &[u8]| Header {
        kind: Kind::Chunk,
        file: FileId(n as u64),
        chunk: ChunkIndex(3),
        content_bytes: payload.len(),
        codec: None,
    };
    for (n, payload) in case.payloads.iter().enumerate() {
        writer.write(&header(n, payload), &mut payload.clone(), || ()).unwrap();
    }
    writer.flush().unwrap();
    drop(writer);
    let as_sent = stream.clone();
    case.changes.iter().for_each(|how| change(&mut stream, how));

    let mut reader = FrameReader::new(&stream[..], opener);
    let mut opened = 0;
    let end = loop {
        let next = match reader.header() {
            Ok(Some(next)) => next,
            Ok(None) => break None,
            Err(end) => break Some(end),
        };
        let mut payload = vec![0; if next.kind == Kind::Whole { 32 } else { 0 } + next.content_bytes];
        if let Err(end) = reader.payload(&mut payload, || ()) {
            break Some(end);
        }
        let sent = case.payloads.get(opened).expect("a frame that nobody sealed");
        assert_eq!((next, &payload), (header(opened, sent), sent));
        opened += 1;
    };
    match end {
        None if stream == as_sent => assert_eq!(opened, case.payloads.len()),
        None => {}
        Some(End::Forged(_) | End::Lost(_)) => assert_ne!(stream, as_sent),
        Some(other) => panic!("{other:?}"),
    }
});
