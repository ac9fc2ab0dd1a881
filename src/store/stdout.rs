//! The standard output as a destination: one file, in order. What was written cannot be taken back.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::{Errno, retry_on_intr};

/// Something that takes bytes one after another: a pipe, most often.
#[derive(Debug)]
pub struct Output {
    to: OwnedFd,
    promised: AtomicBool,
    reader_gone: AtomicBool,
}

impl Output {
    pub fn new(to: OwnedFd) -> Output {
        Output { to, promised: AtomicBool::new(false), reader_gone: AtomicBool::new(false) }
    }

    /// Promises it to a file. False where another one has it.
    pub fn promise(&self) -> bool {
        !self.promised.swap(true, Ordering::Relaxed)
    }

    /// Whether a write found nobody to read it any more.
    pub fn reader_is_gone(&self) -> bool {
        self.reader_gone.load(Ordering::Relaxed)
    }

    /// Writes all of `bytes`. Waits as long as its reader does.
    ///
    /// # Errors
    /// What the system said (a broken pipe where nobody reads any more), with the number of bytes written before it.
    pub fn write(&self, bytes: &[u8]) -> Result<(), (usize, io::Error)> {
        let mut done = 0;
        while let Some(rest) = bytes.get(done..)
            && !rest.is_empty()
        {
            match retry_on_intr(|| rustix::io::write(&self.to, rest)) {
                Ok(written) => done += written,
                // Another program that has the same terminal or pipe may have made it so.
                Err(Errno::AGAIN) => {
                    let mut waiting = [PollFd::new(&self.to, PollFlags::OUT)];
                    retry_on_intr(|| poll(&mut waiting, None)).map_err(|errno| (done, errno.into()))?;
                }
                Err(errno) => {
                    self.reader_gone.store(errno == Errno::PIPE, Ordering::Relaxed);
                    return Err((done, errno.into()));
                }
            }
        }
        Ok(())
    }
}
