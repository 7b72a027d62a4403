//! What tests of several hosts do.

use std::time::{Duration, Instant};

use crate::{Host, LIMIT};

/// Does something on both hosts at once.
pub fn both<'a, T: Send>([one, two]: [&'a Host<'a>; 2], work: impl Fn(&'a Host<'a>) -> T + Sync) -> [T; 2] {
    std::thread::scope(|scope| {
        let work = &work;
        let started = [one, two].map(|host| scope.spawn(move || work(host)));
        started.map(|ended| ended.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    })
}

/// Waits until it is so.
///
/// # Panics
/// When it is not so at the limit.
#[track_caller]
pub fn wait(what: &str, mut condition: impl FnMut() -> bool) {
    let until = Instant::now() + LIMIT;
    while !condition() {
        assert!(Instant::now() < until, "waited in vain: {what}");
        #[allow(clippy::disallowed_methods, reason = "the pause between two looks at the condition")]
        std::thread::sleep(Duration::from_millis(50));
    }
}
