use std::collections::HashSet;
use std::sync::{Condvar, Mutex, PoisonError};

/// Calls that name the same handle take turns; others pass.
#[derive(Debug, Default)]
pub(super) struct Turns {
    busy: Mutex<HashSet<String>>,
    done: Condvar,
}

pub(super) struct Turn<'a> {
    turns: &'a Turns,
    handles: Vec<String>,
}

impl Turns {
    /// Waits until nobody works on any of the handles, and takes them all at once.
    pub(super) fn take<'a>(&self, handles: impl IntoIterator<Item = &'a str>) -> Turn<'_> {
        let handles: Vec<String> = handles.into_iter().map(str::to_owned).collect();
        let mut busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        while handles.iter().any(|handle| busy.contains(handle)) {
            busy = self.done.wait(busy).unwrap_or_else(PoisonError::into_inner);
        }
        busy.extend(handles.iter().cloned());
        drop(busy);
        Turn { turns: self, handles }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut busy = self.turns.busy.lock().unwrap_or_else(PoisonError::into_inner);
        for handle in &self.handles {
            busy.remove(handle);
        }
        self.turns.done.notify_all();
    }
}
