//! Every reply of every call is lost once: nothing is doubled, and the work is done all the same.

use driver::ErrorKind;
use driver::memory::{Call, Fault};
use model::Bytes;
use orchestrator::{Orchestrator, Request};

use crate::house::*;

async fn prepared(house: &House) -> Orchestrator {
    let o = house.open().await;
    run(&o, create("v", Bytes::gib(1))).await.unwrap();
    run(&o, take("v", "s")).await.unwrap();
    run(&o, create("p", Bytes::gib(1))).await.unwrap();
    run(&o, publish("p", "n1")).await.unwrap();
    run(&o, take_group(&["p", "v"], "together")).await.unwrap();
    o
}

fn requests() -> Vec<(Request, Vec<Call>)> {
    vec![
        (create("new", Bytes::gib(1)), vec![Call::Observe, Call::Create]),
        (clone("new", "v", Some("s")), vec![Call::Observe, Call::Clone]),
        (grow("v", Bytes::gib(2)), vec![Call::Observe, Call::Grow]),
        (modify("v", "0750"), vec![Call::Observe, Call::Modify]),
        (take("v", "t"), vec![Call::ListSnapshots, Call::Take]),
        (
            Request::DeleteSnapshot { volume: id("v"), snapshot: snap("s") },
            vec![Call::ListSnapshots, Call::DeleteSnapshot],
        ),
        (take_group(&["p", "v"], "g"), vec![Call::TakeGroup]),
        (delete_group(&["p", "v"], "together"), vec![Call::DeleteGroup]),
        (restore("v", "s"), vec![Call::Observe, Call::Restore]),
        (publish("v", "n1"), vec![Call::Observe, Call::Permit]),
        (unpublish("p", "n1"), vec![Call::Observe, Call::Forbid]),
        (delete("v"), vec![Call::Observe, Call::Delete]),
    ]
}

#[test]
fn a_lost_reply_is_no_loss() {
    for (request, calls) in requests() {
        for call in calls {
            for fault in
                [Fault::LoseReply, Fault::Refuse(ErrorKind::Unreachable), Fault::Refuse(ErrorKind::Busy)]
            {
                block_on(async {
                    let house = House::new();
                    let o = prepared(&house).await;
                    house.faults().plan(call, 1, fault);
                    run(&o, request.clone()).await.unwrap_or_else(|e| panic!("{request:?} {call:?}: {e}"));
                    assert!(house.faults().are_spent(), "{request:?} makes no {call:?}");
                    settled(&o).await;
                    house.check(&o);
                });
            }
        }
    }
}

#[test]
fn a_refusal_undoes_what_was_begun() {
    for (request, calls) in requests() {
        for call in calls {
            block_on(async {
                let house = House::new();
                let o = prepared(&house).await;
                house.faults().plan(call, 1, Fault::Refuse(ErrorKind::Internal));
                let error = run(&o, request.clone()).await.expect_err("the array refused");
                assert_eq!(error.kind, ErrorKind::Internal, "{request:?} {call:?}");
                settled(&o).await;
                house.check(&o);
                let expected = if matches!(request, Request::Delete { .. }) { 1 } else { 2 };
                assert_eq!(o.catalogue().volume_count(), expected, "{request:?} {call:?}");
            });
        }
    }
}

#[test]
fn an_outage_ends_every_operation_in_time_and_is_mended_afterwards() {
    for (request, calls) in requests() {
        block_on(async {
            let house = House::new();
            let o = prepared(&house).await;
            for call in &calls {
                house.faults().always(*call, Fault::Refuse(ErrorKind::Unreachable));
            }
            let error = run(&o, request.clone()).await.expect_err("the array is away");
            assert_eq!(error.kind, ErrorKind::Unreachable, "{request:?}: {error}");
            house.faults().lift();
            settled(&o).await;
            house.check(&o);
        });
    }
}

#[test]
fn an_array_that_never_answers_is_given_up_on() {
    block_on(async {
        let house = House::new();
        let o = prepared(&house).await;
        house.faults().always(Call::Create, Fault::Hang);
        let error = run(&o, create("new", Bytes::gib(1))).await.expect_err("it hangs");
        assert_eq!(error.kind, ErrorKind::Unreachable);
        assert!(error.message.contains("no answer within 90 s"), "{error}");
        house.faults().lift();
        settled(&o).await;
        house.check(&o);
    });
}
