//! Threads beside the one that carries the control connections, for what may take as long as a disk does. The
//! runtime's own would end the program where none can be had.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use crate::os::threads;
use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::time::sleep;

/// Stack of a thread beside the one that carries the control connections: as much as the standard library
/// gives, since names are looked up there by whatever modules the system has for that.
const ASIDE_STACK_BYTES: usize = 2 << 20;

/// How often threads are looked at whose end nobody could be made to wait for.
const THREADS_POLL: Duration = Duration::from_millis(5);

/// Does `work` in a thread of its own, which goes on where nobody waits for it any more.
///
/// # Errors
/// There can be no further thread.
pub async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> io::Result<T> {
    let (done, result) = oneshot::channel();
    let work = move || drop(done.send(work()));
    threads::named("aside").stack_size(ASIDE_STACK_BYTES).spawn(work)?;
    result.await.map_err(|_| io::Error::other("a thread ended before its work was done"))
}

/// Waits until `threads` have ended, also where nobody waits for that any more, and gives `held` free then.
pub async fn join(threads: Vec<JoinHandle<()>>, held: impl Send + 'static) {
    let all = Arc::new(Mutex::new(Some((threads, held))));
    let own = all.clone();
    let work = move || {
        if let Some((threads, held)) = own.lock().take() {
            threads.into_iter().for_each(|thread| drop(thread.join()));
            drop(held);
        }
    };
    if aside(work).await.is_ok() {
        return;
    }
    let taken = all.lock().take();
    let Some((threads, _held)) = taken else { return };
    while !threads.iter().all(JoinHandle::is_finished) {
        sleep(THREADS_POLL).await;
    }
}

/// Has this thread run only where a CPU has nothing else to do, as far as the system tells threads apart.
pub fn yield_to_others() {
    // Elsewhere it would be all of the program.
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::setpriority_process(None, 19) {
        tracing::debug!("a thread runs as urgently as others: {error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_held_is_free_when_all_threads_have_ended() {
        let (held, one) = (Arc::new(()), std::thread::spawn(|| {}));
        join(vec![one, std::thread::spawn(|| {})], held.clone()).await;
        assert_eq!(Arc::strong_count(&held), 1);
        assert_eq!(aside(|| 7).await.unwrap(), 7);
    }
}
