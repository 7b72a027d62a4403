//! Reads a writer's account while it grows, and notes when each line came.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::writer::Said;

const PAUSE: Duration = Duration::from_millis(5);

/// Everything the writer has said, each with the time this machine saw it.
pub(crate) struct Observer {
    seen: Arc<Mutex<Vec<(Instant, Said)>>>,
    enough: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Observer {
    /// Observes the account at this path of this machine, also before it is there.
    pub(crate) fn of(account: &Path) -> Self {
        let (seen, enough) = (Arc::default(), Arc::new(AtomicBool::new(false)));
        let (path, into, stop) = (account.to_path_buf(), Arc::clone(&seen), Arc::clone(&enough));
        let thread = Some(std::thread::spawn(move || follow(&path, &into, &stop)));
        Self { seen, enough, thread }
    }

    pub(crate) fn seen(&self) -> Vec<(Instant, Said)> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How many records were acknowledged, and how many errors there were, since then.
    pub(crate) fn since(&self, then: Instant) -> (usize, usize) {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let new = seen.iter().rev().take_while(|(at, _)| *at > then);
        new.fold((0, 0), |(good, bad), (_, said)| match said {
            Said::Began { .. } => (good, bad),
            Said::Acknowledged { .. } => (good + 1, bad),
            Said::Failed { .. } => (good, bad + 1),
        })
    }
}

impl Drop for Observer {
    fn drop(&mut self) {
        self.enough.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // It only reads, and what it read is here.
            let _ = thread.join();
        }
    }
}

/// Looks until there is what one waits for; `false` at the limit.
pub(crate) fn until(limit: Duration, mut look: impl FnMut() -> bool) -> bool {
    let started = Instant::now();
    loop {
        if look() {
            return true;
        }
        if started.elapsed() > limit {
            return false;
        }
        pause();
    }
}

fn follow(path: &PathBuf, seen: &Mutex<Vec<(Instant, Said)>>, enough: &AtomicBool) {
    let (mut file, mut line) = (None, String::new());
    while !enough.load(Ordering::Relaxed) {
        let Some(reader) = &mut file else {
            file = File::open(path).ok().map(BufReader::new);
            pause();
            continue;
        };
        match reader.read_line(&mut line) {
            Ok(read) if read > 0 && line.ends_with('\n') => {
                if let Ok(said) = serde_json::from_str(&line) {
                    seen.lock().unwrap_or_else(PoisonError::into_inner).push((Instant::now(), said));
                }
                line.clear();
            }
            // The rest of the line is still to come.
            _ => pause(),
        }
    }
}

#[allow(clippy::disallowed_methods, reason = "the pause between two looks at the condition")]
fn pause() {
    std::thread::sleep(PAUSE);
}
