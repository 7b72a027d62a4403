use std::sync::atomic::{AtomicU32, Ordering};

/// Stops calls to a backend that has not answered several times in a row, until a probe gets through.
#[derive(Debug)]
pub(super) struct Breaker {
    failures: AtomicU32,
}

/// One lost reply is bad luck; this many in a row is an outage.
const OPEN_AFTER: u32 = 5;

impl Breaker {
    pub(super) fn new() -> Breaker {
        Breaker { failures: AtomicU32::new(0) }
    }

    pub(super) fn allows(&self) -> bool {
        self.failures.load(Ordering::Relaxed) < OPEN_AFTER
    }

    pub(super) fn worked(&self) {
        self.failures.store(0, Ordering::Relaxed);
    }

    /// True when the backend counts as unreachable now.
    pub(super) fn failed(&self) -> bool {
        self.failures.fetch_add(1, Ordering::Relaxed) + 1 >= OPEN_AFTER
    }

    /// The next call may pass; one failure closes the way again.
    pub(super) fn try_again(&self) {
        let _ = self.failures.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |failures| {
            (failures >= OPEN_AFTER).then_some(OPEN_AFTER - 1)
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_opens_it_and_a_probe_that_works_closes_it() {
        let breaker = Breaker::new();
        for _ in 1..OPEN_AFTER {
            assert!(!breaker.failed());
        }
        assert!(breaker.allows());
        assert!(breaker.failed());
        assert!(!breaker.allows());
        breaker.try_again();
        assert!(breaker.allows());
        assert!(breaker.failed());
        assert!(!breaker.allows());
        breaker.try_again();
        breaker.worked();
        assert!(!breaker.failed());
    }
}
