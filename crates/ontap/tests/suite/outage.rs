//! How the client treats an array that is overloaded, or away and back: all of it counted.

use std::sync::Arc;
use std::time::Duration;

use driver::conformance::Fixture;
use driver::{Driver, ErrorKind};
use sim_ontap::{Effect, Latency, Overload};
use tokio::task::JoinSet;

use crate::array::{Array, request};

/// Callers that wait for the array at once.
const HERD: usize = 200;

/// All of them look at once; says how many got an answer.
async fn herd(driver: &Arc<dyn Driver>) -> usize {
    let handle = request(driver.as_ref(), "v").handle;
    let mut looks = JoinSet::new();
    for _ in 0..HERD {
        let (driver, handle) = (driver.clone(), handle.clone());
        looks.spawn(async move { driver.observe(&handle).await });
    }
    let mut answered = 0;
    while let Some(look) = looks.join_next().await {
        match look.unwrap() {
            Ok(_) => answered += 1,
            Err(error) => assert_eq!(error.kind, ErrorKind::Unreachable, "{error}"),
        }
    }
    answered
}

#[tokio::test]
async fn connections_are_kept_and_calls_at_once_are_bounded() {
    let array = Array::new("ontap-nas", "").await;
    let driver = array.driver();
    array.sim.faults().set_latency("*", Latency { milliseconds: 5, jitter: 5 });
    for _ in 0..5 {
        assert_eq!(herd(&driver).await, HERD);
    }
    let calls = array.sim.calls();
    assert!(calls.most_in_flight() <= 20, "{} calls at once", calls.most_in_flight());
    assert!(calls.connections() <= 60, "{} connections for {} calls", calls.connections(), calls.total());
}

#[tokio::test]
async fn an_array_that_takes_few_calls_is_asked_for_few() {
    let array = Array::new("ontap-nas", "").await;
    let driver = array.driver();
    array.sim.faults().set_latency("*", Latency { milliseconds: 5, jitter: 5 });
    array.sim.faults().limit_in_flight(6, Overload::Refuse { status: 429, retry_after: 0 });
    for _ in 0..3 {
        assert_eq!(herd(&driver).await, HERD, "what is refused is asked again until it is answered");
    }
    let refused = array.sim.faults().met();
    assert!(refused > 0, "the limit was never met");
    let asked = array.sim.calls().total();
    assert!(refused * 5 < asked, "{refused} of {asked} calls were refused: the limit was not learnt");
}

#[tokio::test]
async fn after_an_outage_the_herd_comes_back_one_by_one() {
    let array = Array::new("ontap-nas", "").await;
    let driver = array.driver();
    assert_eq!(herd(&driver).await, HERD);
    array.sim.faults().always("*", Effect::Drop);
    let before = array.sim.calls().total();
    assert_eq!(herd(&driver).await, 0);
    let during = array.sim.calls().total() - before;
    assert!(during <= HERD * 4, "{during} calls by {HERD} callers");
    array.sim.faults().clear();
    array.sim.faults().set_latency("*", Latency { milliseconds: 20, jitter: 0 });
    array.sim.calls().reset();
    // The first of them: as few calls at once as can be, then a few more.
    let few = tokio::spawn({
        let driver = driver.clone();
        async move { herd(&driver).await }
    });
    while array.sim.calls().total() < 20 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let at_once = array.sim.calls().most_in_flight();
    assert!(at_once <= 8, "{at_once} calls at once right after the outage");
    assert_eq!(few.await.unwrap(), HERD);
    assert!(array.sim.calls().connections() <= 60, "{} connections", array.sim.calls().connections());
    assert_eq!(array.sim.calls().total(), HERD, "nobody asks twice once it answers");
}

/// Two backends on one array count together.
#[tokio::test]
async fn backends_at_one_management_lif_share_its_limit() {
    let array = Array::new("ontap-nas", "").await;
    let (one, two) = (array.driver(), array.beside("ontap-nas-flexgroup", "").await);
    array.sim.faults().set_latency("*", Latency { milliseconds: 5, jitter: 5 });
    let (a, b) = tokio::join!(herd(&one), herd(&two));
    assert_eq!((a, b), (HERD, HERD));
    assert!(array.sim.calls().most_in_flight() <= 20, "{} calls at once", array.sim.calls().most_in_flight());
}
