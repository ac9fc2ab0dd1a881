//! What a script makes the sender do, and what is there before.

use lanx_fuzz::{SIZES, Script};

/// Under which names there are files.
pub const NAMES: [&str; 4] = ["a", "b", "a.1", "long"];

const STEPS_MAX: usize = 64;

/// Steps speak of as many files, most of which there are.
const FILES: u8 = 6;

#[derive(Debug)]
pub struct Case {
    pub existing: u8,
    /// The session has no files.
    pub measure: bool,
    pub reread: bool,
    pub there: Vec<There>,
    pub steps: Vec<Step>,
}

/// What is in the folder before: under which name, of which size, painted how.
#[derive(Debug)]
pub struct There {
    pub name: u8,
    pub size: u8,
    pub kind: u8,
    pub is_part: bool,
}

#[derive(Debug)]
pub enum Step {
    Offer {
        name: u8,
        size: u8,
    },
    OddOffer {
        file: u8,
        size: u64,
        name: Vec<u8>,
    },
    /// The value of a chunk, painted so.
    Value {
        file: u8,
        chunk: u8,
        kind: u8,
    },
    Root {
        file: u8,
        wrong: bool,
    },
    Withdraw {
        file: u8,
    },
    Finish {
        more: u8,
    },
    /// `odd` says, where it is large, by how much the length is wrong.
    Chunk {
        file: u8,
        chunk: u8,
        kind: u8,
        odd: u8,
    },
    Whole {
        file: u8,
        kind: u8,
        wrong: bool,
    },
    /// Does what the receiver has asked for, as an honest sender would.
    Obey {
        file: u8,
    },
    Say(Vec<u8>),
    Send(Vec<u8>),
    /// The offer of a stream that will turn out to have this size.
    OfferStream {
        name: u8,
        size: u8,
    },
    /// The length of a stream; `odd` says, where it is large, by how much it is wrong.
    Length {
        file: u8,
        odd: u8,
    },
    /// A probe of so many bytes.
    Probe {
        len: u8,
    },
}

impl Case {
    pub fn read(mut script: Script) -> Case {
        let (existing, reread) = (script.below(6), script.flag());
        let (existing, measure) = (existing % 3, existing >= 3);
        let there = (0..script.below(5)).map(|_| There {
            name: script.below(NAMES.len() as u8),
            size: script.below(SIZES.len() as u8),
            kind: script.below(2),
            is_part: script.flag(),
        });
        let there = there.collect();
        let mut steps = Vec::new();
        while !script.is_over() && steps.len() < STEPS_MAX {
            steps.push(Step::read(&mut script));
        }
        Case { existing, measure, reread, there, steps }
    }
}

impl Step {
    fn read(script: &mut Script) -> Step {
        let kind = script.below(15);
        if let 0 = kind {
            return Step::Offer { name: script.byte(), size: script.byte() };
        }
        if let 10 = kind {
            return Step::Say(script.string().to_vec());
        }
        if let 11 = kind {
            return Step::Send(script.string().to_vec());
        }
        if let 12 = kind {
            return Step::OfferStream { name: script.byte(), size: script.byte() };
        }
        if let 14 = kind {
            return Step::Probe { len: script.byte() };
        }
        let file = script.below(FILES);
        match kind {
            13 => Step::Length { file, odd: script.byte() },
            1 => Step::OddOffer { file, size: script.number(), name: script.string().to_vec() },
            2 => Step::Value { file, chunk: script.below(8), kind: script.below(2) },
            4 => Step::Root { file, wrong: script.flag() },
            5 => Step::Withdraw { file },
            6 => Step::Finish { more: script.below(2) },
            7 => Step::Chunk { file, chunk: script.below(8), kind: script.below(2), odd: script.byte() },
            8 => Step::Whole { file, kind: script.below(2), wrong: script.flag() },
            _ => Step::Obey { file },
        }
    }
}
