use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};

/// How many calls are under way at once: fewer when the array says that it has too much to do, slowly more again.
#[derive(Debug)]
pub(super) struct Pace {
    places: Semaphore,
    /// Places that were taken away.
    withheld: AtomicUsize,
    /// Answers since the last change.
    calm: AtomicUsize,
}

const MOST: usize = 20;
const LEAST: usize = 2;

impl Default for Pace {
    fn default() -> Pace {
        Pace { places: Semaphore::new(MOST), withheld: AtomicUsize::new(0), calm: AtomicUsize::new(0) }
    }
}

impl Pace {
    pub(super) async fn enter(&self) -> SemaphorePermit<'_> {
        match self.places.acquire().await {
            Ok(place) => place,
            Err(_) => unreachable!("the places are never closed"),
        }
    }

    /// Halves the places at once when overloaded, and gives one back after as many calm answers as there are places.
    pub(super) fn learn(&self, overloaded: bool) {
        let withheld = self.withheld.load(Ordering::Relaxed);
        let now = MOST - withheld;
        if overloaded {
            self.calm.store(0, Ordering::Relaxed);
            let take = (now / 2).min(now.saturating_sub(LEAST));
            let taken = self.places.forget_permits(take);
            self.withheld.fetch_add(taken, Ordering::Relaxed);
        } else if withheld > 0 && self.calm.fetch_add(1, Ordering::Relaxed) >= now {
            self.calm.store(0, Ordering::Relaxed);
            if self
                .withheld
                .compare_exchange(withheld, withheld - 1, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
            {
                self.places.add_permits(1);
            }
        }
    }
}

/// Twice as long each time, and anywhere below that, so that callers do not come back together.
pub(super) fn backoff(attempt: u32) -> Duration {
    let most = Duration::from_millis(200) * 2u32.saturating_pow(attempt.min(6));
    most.mul_f64(0.5 + 0.5 * fastrand::f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overload_halves_the_places_and_calm_brings_them_back() {
        let pace = Pace::default();
        for expected in [10, 5, 3, 2, 2] {
            pace.learn(true);
            assert_eq!(pace.places.available_permits(), expected);
        }
        for _ in 0..1000 {
            pace.learn(false);
        }
        assert_eq!(pace.places.available_permits(), MOST);
    }
}
