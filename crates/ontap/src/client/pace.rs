use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;

/// How many calls are under way at once at one management LIF: fewer when the array says that it has too much to do, as
/// few as can be when it is away, and slowly more again with each round of calm answers.
#[derive(Debug)]
pub(super) struct Pace {
    places: Semaphore,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// Places there are now, taken or not.
    now: usize,
    /// Taken places that are not given back when their calls end.
    owed: usize,
    /// Answers since the last change.
    calm: usize,
    /// Grows when places are taken away: what was sent before says nothing of the new number.
    round: u64,
    /// The array has asked to be left alone until then.
    not_before: Option<Instant>,
}

/// A call under way.
pub(super) struct Place<'a> {
    pace: &'a Pace,
    permit: Option<SemaphorePermit<'a>>,
    round: u64,
}

/// How a call fared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fared {
    Answered,
    /// The array had too much to do; it may have said for how long it wants to be left alone.
    Refused(Option<Duration>),
    /// There was no answer.
    Silent,
}

const MOST: usize = 20;
const LEAST: usize = 2;
/// The longest that an array's wish to be left alone is heeded.
const LONGEST_REST: Duration = Duration::from_secs(10);

/// Backends with one management LIF share its pace.
static PACES: Mutex<Option<HashMap<String, Weak<Pace>>>> = Mutex::new(None);

impl Default for Pace {
    fn default() -> Pace {
        let inner = Inner { now: MOST, owed: 0, calm: 0, round: 0, not_before: None };
        Pace { places: Semaphore::new(MOST), inner: Mutex::new(inner) }
    }
}

impl Pace {
    pub(super) fn at(management: &str) -> Arc<Pace> {
        let mut paces = PACES.lock().unwrap_or_else(PoisonError::into_inner);
        let paces = paces.get_or_insert_default();
        if let Some(pace) = paces.get(management).and_then(Weak::upgrade) {
            return pace;
        }
        paces.retain(|_, pace| pace.strong_count() > 0);
        let pace = Arc::new(Pace::default());
        paces.insert(management.to_owned(), Arc::downgrade(&pace));
        pace
    }

    pub(super) async fn enter(&self) -> Place<'_> {
        let permit = match self.places.acquire().await {
            Ok(permit) => permit,
            Err(_) => unreachable!("the places are never closed"),
        };
        // With a place in hand: those who wait behind it wait too.
        let rest = self.inner().not_before;
        if let Some(until) = rest {
            tokio::time::sleep_until(until + spread(Duration::from_millis(200))).await;
        }
        Place { pace: self, permit: Some(permit), round: self.inner().round }
    }

    fn learn(&self, fared: Fared, round: u64) {
        let mut inner = self.inner();
        match fared {
            Fared::Answered if inner.now < MOST => {
                inner.calm += 1;
                if inner.calm >= inner.now {
                    inner.calm = 0;
                    inner.now += 1;
                    match inner.owed {
                        0 => self.places.add_permits(1),
                        _ => inner.owed -= 1,
                    }
                }
            }
            Fared::Answered => {}
            Fared::Refused(rest) => {
                if let Some(rest) = rest {
                    inner.not_before = Some(Instant::now() + rest.min(LONGEST_REST));
                }
                let fewer = inner.now - inner.now.div_ceil(4);
                self.reduce(&mut inner, fewer, round);
            }
            Fared::Silent => self.reduce(&mut inner, LEAST, round),
        }
    }

    /// Once for all calls that were under way together.
    fn reduce(&self, inner: &mut Inner, to: usize, round: u64) {
        inner.calm = 0;
        let to = to.max(LEAST);
        if round < inner.round || to >= inner.now {
            return;
        }
        let gone = inner.now - to;
        inner.owed += gone - self.places.forget_permits(gone);
        inner.now = to;
        inner.round += 1;
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place<'_> {
    pub(super) fn learn(&self, fared: Fared) {
        self.pace.learn(fared, self.round);
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut inner = self.pace.inner();
        if inner.owed > 0
            && let Some(permit) = self.permit.take()
        {
            inner.owed -= 1;
            permit.forget();
        }
    }
}

/// Twice as long each time, and anywhere below that, so that callers do not come back together.
pub(super) fn backoff(attempt: u32) -> Duration {
    let most = Duration::from_millis(200) * 2u32.saturating_pow(attempt.min(6));
    most / 2 + spread(most / 2)
}

fn spread(most: Duration) -> Duration {
    most.mul_f64(fastrand::f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now(pace: &Pace) -> usize {
        pace.inner().now
    }

    #[tokio::test]
    async fn overload_takes_places_once_a_round_and_calm_brings_them_back() {
        let pace = Pace::default();
        let mut taken = Vec::new();
        for _ in 0..MOST {
            taken.push(pace.enter().await);
        }
        // All of them are refused together: that is one sign, not twenty.
        for place in &taken {
            place.learn(Fared::Refused(None));
        }
        assert_eq!(now(&pace), 15);
        drop(taken);
        assert_eq!(pace.places.available_permits(), 15, "places in use are taken away when their calls end");
        for expected in [11, 8, 6, 4, 3, 2, 2] {
            pace.enter().await.learn(Fared::Refused(None));
            assert_eq!(now(&pace), expected);
        }
        for _ in 0..1000 {
            pace.enter().await.learn(Fared::Answered);
        }
        assert_eq!((now(&pace), pace.places.available_permits()), (MOST, MOST));
    }

    #[tokio::test]
    async fn silence_leaves_the_fewest_places() {
        let pace = Pace::default();
        let taken = [pace.enter().await, pace.enter().await, pace.enter().await];
        taken[0].learn(Fared::Silent);
        assert_eq!(now(&pace), LEAST);
        drop(taken);
        assert_eq!(pace.places.available_permits(), LEAST);
    }

    #[tokio::test]
    async fn an_array_that_wants_rest_gets_it() {
        let pace = Pace::default();
        let rest = Duration::from_millis(300);
        pace.enter().await.learn(Fared::Refused(Some(rest)));
        let asked = Instant::now();
        drop(pace.enter().await);
        assert!(asked.elapsed() >= rest - Duration::from_millis(50), "{:?}", asked.elapsed());
        pace.enter().await.learn(Fared::Refused(Some(Duration::from_secs(86_400))));
        let until = pace.inner().not_before.unwrap();
        assert!(until <= Instant::now() + LONGEST_REST, "not for a day");
    }

    #[test]
    fn backends_at_one_address_share_its_pace() {
        let (one, two, other) = (Pace::at("10.0.0.1"), Pace::at("10.0.0.1"), Pace::at("10.0.0.2"));
        assert!(Arc::ptr_eq(&one, &two) && !Arc::ptr_eq(&one, &other));
    }
}
