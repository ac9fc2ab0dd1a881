//! What the threads that move chunks did with their time, as one end tells the other.

use std::time::Duration;

use super::fields::{DecodeError, Reader, Writer};

/// What such a thread does at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The sender has no chunk to send.
    Wait,
    /// Waits for its turn, as the user has set a rate.
    Limit,
    /// Reads the source.
    Read,
    Hash,
    Seal,
    /// Writes to the network, and waits until that takes more.
    Send,
    /// Reads from the network, and waits until something comes.
    Receive,
    Open,
    /// Stores what came.
    Write,
    /// Probes a chunk, and makes it shorter where that is worth it.
    Compress,
    Decompress,
}

/// How many kinds of [`Stage`] there are.
pub const STAGES: usize = 11;

/// Of these, how many a receiver always tells of: those that there were at first.
const STAGES_TOLD: usize = 9;

/// How busy a machine was, in thousandths of its CPUs' time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Busy {
    pub machine: u16,
    /// Of that, what was this program's.
    pub own: u16,
}

/// On the wire, for a machine that cannot tell how busy it is.
const BUSY_UNKNOWN: u16 = u16::MAX;

/// The time that all threads of one end together spent in each stage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spent {
    pub nanos: [u64; STAGES],
    /// How busy the machine was meanwhile; `None` where it cannot tell.
    pub busy: Option<Busy>,
}

impl Spent {
    pub fn of(&self, stage: Stage) -> u64 {
        self.nanos.get(stage as usize).copied().unwrap_or_default()
    }

    pub fn add(&mut self, stage: Stage, time: Duration) {
        if let Some(nanos) = self.nanos.get_mut(stage as usize) {
            *nanos = nanos.saturating_add(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
        }
    }

    pub(super) fn put(&self, w: &mut Writer) {
        for nanos in self.nanos.iter().take(STAGES_TOLD) {
            w.u64(*nanos);
        }
        let unknown = Busy { machine: BUSY_UNKNOWN, own: BUSY_UNKNOWN };
        let Busy { machine, own } = self.busy.unwrap_or(unknown);
        w.u16(machine).u16(own);
        // Only where something was compressed, so that whoever knows of no codecs hears of none.
        match self.of(Stage::Decompress) {
            0 => {}
            nanos => drop(w.u64(nanos)),
        }
    }

    pub(super) fn take(r: &mut Reader) -> Result<Spent, DecodeError> {
        let mut nanos = [0; STAGES];
        for one in nanos.iter_mut().take(STAGES_TOLD) {
            *one = r.u64("a time")?;
        }
        let mut thousandths = || r.u16("how busy a machine was");
        let busy = match (thousandths()?, thousandths()?) {
            (BUSY_UNKNOWN, BUSY_UNKNOWN) => None,
            (machine @ 0..=1000, own @ 0..=1000) => Some(Busy { machine, own }),
            (machine, own) => {
                let why = format!("of {machine} and {own} thousandths one is more than all");
                return Err(DecodeError::BadValue { what: "how busy a machine was", why });
            }
        };
        let mut spent = Spent { nanos, busy };
        if r.rest().len() >= size_of::<u64>() {
            spent.add(Stage::Decompress, Duration::from_nanos(r.u64("a time")?));
        }
        Ok(spent)
    }
}
