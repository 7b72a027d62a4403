//! An array's clock: the machine's, or one that stands still until it is told.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::watch;

/// A clock that all parts of one simulator share.
#[derive(Clone, Debug)]
pub struct Clock(Kind);

#[derive(Clone, Debug)]
enum Kind {
    Real,
    Virtual(watch::Sender<Timestamp>),
}

impl Clock {
    /// The machine's clock.
    pub fn real() -> Self {
        Self(Kind::Real)
    }

    /// A clock that stands at `start` until [`Clock::advance`].
    pub fn virtual_at(start: Timestamp) -> Self {
        Self(Kind::Virtual(watch::Sender::new(start)))
    }

    pub fn now(&self) -> Timestamp {
        match &self.0 {
            Kind::Real => Timestamp::now(),
            Kind::Virtual(now) => *now.borrow(),
        }
    }

    /// Moves a virtual clock on; the machine's goes by itself, and this does nothing.
    pub fn advance(&self, by: Duration) {
        if let Kind::Virtual(now) = &self.0 {
            now.send_modify(|now| *now = later(*now, by));
        }
    }

    /// Returns when the clock shows `until`.
    pub async fn sleep_until(&self, until: Timestamp) {
        match &self.0 {
            Kind::Real => {
                let left = until.duration_since(Timestamp::now());
                tokio::time::sleep(Duration::try_from(left).unwrap_or_default()).await;
            }
            // An error would mean that the clock, which `self` holds, is gone.
            Kind::Virtual(now) => drop(now.subscribe().wait_for(|now| *now >= until).await),
        }
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::real()
    }
}

fn later(at: Timestamp, by: Duration) -> Timestamp {
    SignedDuration::try_from(by).ok().and_then(|by| at.checked_add(by).ok()).unwrap_or(Timestamp::MAX)
}
