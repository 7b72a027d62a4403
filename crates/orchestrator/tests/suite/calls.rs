//! What each operation costs in calls to the backend. These numbers are in the documentation.

use std::collections::BTreeMap;

use driver::memory::Call;
use model::Bytes;
use orchestrator::Request;

use crate::house::*;

#[test]
fn each_operation_makes_the_calls_it_states() {
    block_on(async {
        let house = House::new();
        let o = house.open().await;
        let steps: Vec<(Request, Vec<Call>)> = vec![
            (create("v", Bytes::gib(1)), vec![Call::Observe, Call::Create]),
            (take("v", "s"), vec![Call::ListSnapshots, Call::Take]),
            (clone("c", "v", Some("s")), vec![Call::Observe, Call::Clone]),
            (grow("v", Bytes::gib(2)), vec![Call::Observe, Call::Grow]),
            (modify("v", "0750"), vec![Call::Observe, Call::Modify]),
            // The volume shrinks to the snapshot's size and grows back.
            (restore("v", "s"), vec![Call::Observe, Call::Restore, Call::Grow]),
            (publish("v", "n1"), vec![Call::Observe, Call::Permit]),
            (publish("v", "n1"), vec![Call::Observe, Call::Permit]),
            (Request::MarkStaged { volume: id("v") }, vec![Call::MarkStaged]),
            (Request::MarkStaged { volume: id("v") }, vec![]),
            (unpublish("v", "n1"), vec![Call::Observe, Call::Forbid]),
            (
                Request::DeleteSnapshot { volume: id("v"), snapshot: snap("s") },
                vec![Call::ListSnapshots, Call::DeleteSnapshot],
            ),
            (take_group(&["v", "c"], "g"), vec![Call::TakeGroup]),
            (take_group(&["v", "c"], "g"), vec![]),
            (delete_group(&["v", "c"], "g"), vec![Call::DeleteGroup]),
            (delete("v"), vec![Call::Observe, Call::Delete]),
            (Request::Forget { volume: id("c") }, vec![]),
            (
                Request::Adopt { volume: id("c"), backend: backend() },
                vec![Call::List, Call::Observe, Call::ListSnapshots],
            ),
        ];
        for (request, calls) in steps {
            let before = house.faults().counts();
            run(&o, request.clone()).await.unwrap();
            let after = house.faults().counts();
            let made: BTreeMap<Call, u64> = after
                .into_iter()
                .map(|(call, count)| (call, count - before.get(&call).copied().unwrap_or(0)))
                .filter(|(_, count)| *count > 0)
                .collect();
            let expected: BTreeMap<Call, u64> = calls.into_iter().map(|call| (call, 1)).collect();
            assert_eq!(made, expected, "{request:?}");
        }
    });
}

#[test]
fn a_quiet_hour_costs_one_list_a_drift_period_and_one_poll_a_probe_whatever_the_number_of_volumes() {
    block_on(async {
        let house = House::new();
        let o = house.open().await;
        for n in 0..50 {
            run(&o, create(&format!("v{n}"), Bytes::mib(1))).await.unwrap();
        }
        let before = house.faults().counts();
        tokio::time::sleep(std::time::Duration::from_secs(3600)).await;
        let after = house.faults().counts();
        let made = |call| after[&call] - before.get(&call).copied().unwrap_or(0);
        assert_eq!(made(Call::List), 60);
        assert_eq!(made(Call::Pools), 240);
        assert_eq!(made(Call::Observe), 0);
    });
}
