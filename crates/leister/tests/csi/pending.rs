//! A call that is asked again while it is still worked on.

use std::time::Duration;

use serde_json::json;
use sim_kit::{Effect, JobFault};
use tonic::{Code, Request};

use crate::array;
use crate::client::{Caller, Kind};
use crate::pools::may_make_pools;
use crate::rig::Rig;

#[test]
fn what_is_not_done_in_time_is_aborted_and_asked_again_it_is_joined() {
    if !may_make_pools() {
        return;
    }
    let (runtime, sim) = array::start();
    let mut rig = Rig::bare();
    let config = rig.write("backend.json", &array::backend(&sim, &json!({})));
    let socket = rig.path("csi.sock");
    rig.serve(&["--config", &config, "--csi-endpoint", &socket.display().to_string()]);
    let caller = runtime.block_on(async { Caller::of(&socket) });

    sim.faults().once("POST /storage/volumes", Effect::Job(JobFault::Held));
    let create = |size: i64| {
        let mut create = Caller::create("slow", Kind::Files, size);
        create.parameters.insert("storagePools".to_owned(), "array:.*".to_owned());
        create
    };
    let ask = |limit: u64| {
        let mut request = Request::new(create(64 << 20));
        request.set_timeout(Duration::from_secs(limit));
        let mut controller = caller.controller.clone();
        async move { controller.create_volume(request).await }
    };
    let refused = runtime.block_on(ask(2)).unwrap_err();
    assert_eq!(refused.code(), Code::Aborted, "{refused:?}");
    let refused = runtime.block_on(ask(2)).unwrap_err();
    assert_eq!(refused.code(), Code::Aborted, "{refused:?}");
    // Another wish of that name does not join.
    let mut other = Request::new(create(128 << 20));
    other.set_timeout(Duration::from_secs(2));
    let refused = runtime.block_on(caller.controller.clone().create_volume(other)).unwrap_err();
    assert_eq!(refused.code(), Code::Aborted, "{refused:?}");

    let joined = runtime.spawn(ask(60));
    sim.finish_jobs();
    let made = runtime.block_on(joined).unwrap().unwrap().into_inner().volume.unwrap();
    assert_eq!((made.volume_id.as_str(), made.capacity_bytes), ("slow", 64 << 20));
    assert_eq!(sim.calls().count("POST /storage/volumes"), 1, "made once");
    assert_eq!(sim.faults().met(), 1);
    assert_eq!(rig.stop(), Some(0));
}
