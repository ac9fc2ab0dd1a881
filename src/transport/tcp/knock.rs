//! A receiver that is hung about by strangers sends some of them away, and cannot know yet that we are none. So whoever is
//! hung up on comes again a few times.

use tokio::time::sleep;

use super::enter::{EnterError, Link};
use crate::limits::{KNOCKS, RETRY_PAUSE_FIRST};

/// Does `enter`, again where it was hung up on.
///
/// # Errors
/// Those of the last try.
pub async fn knock(enter: impl AsyncFn() -> Result<Link, EnterError>) -> Result<Link, EnterError> {
    let mut pause = RETRY_PAUSE_FIRST;
    for _ in 1..KNOCKS {
        match enter().await {
            Err(error) if error.was_hung_up_on() => tracing::info!("{error}"),
            result => return result,
        }
        sleep(pause).await;
        pause *= 2;
    }
    enter().await
}
