//! Waiting for a condition, with a limit.

use std::time::{Duration, Instant};

const PAUSE: Duration = Duration::from_millis(5);

/// Looks until there is something to see, or the limit has passed.
pub(crate) fn until<T>(limit: Duration, look: impl FnMut() -> Option<T>) -> Option<T> {
    paced(limit, PAUSE, look)
}

/// The same, for a look that costs something.
pub(crate) fn paced<T>(limit: Duration, pause: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let started = Instant::now();
    loop {
        let seen = look();
        if seen.is_some() || started.elapsed() > limit {
            return seen;
        }
        #[allow(clippy::disallowed_methods, reason = "the pause between two looks at the condition")]
        std::thread::sleep(pause);
    }
}
