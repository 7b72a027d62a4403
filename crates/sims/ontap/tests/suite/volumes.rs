//! Volumes, their snapshots and clones: what an array allows and what it refuses.

use serde_json::{Value, json};
use sim_ontap::{Personality, Sim};

use crate::rest::Rest;

#[tokio::test]
async fn a_volume_is_made_by_a_job_and_shows_what_it_was_made_with() {
    let rest = Rest::start().await;
    let body = json!({
        "name": "v1", "svm": {"name": "svm1"}, "aggregates": [{"name": "aggr1"}], "size": 104_857_600,
        "nas": {"path": "/v1", "unix_permissions": 711}, "comment": "hello",
    });
    let answer = rest.try_call("POST", "/storage/volumes", body).await.unwrap();
    assert_eq!(answer.status, 202);
    assert!(answer.body["job"]["_links"]["self"]["href"].as_str().unwrap().starts_with("/api/cluster/jobs/"));
    let path = answer.headers["location"].to_str().unwrap().strip_prefix("/api").unwrap().to_owned();
    let volume = rest.get(&format!("{path}?fields=**")).await;
    assert_eq!(volume["space"]["size"], 104_857_600);
    assert_eq!(volume["nas"]["path"], "/v1");
    assert_eq!(volume["nas"]["unix_permissions"], 711);
    assert_eq!(volume["nas"]["export_policy"]["name"], "default");
    assert_eq!(volume["guarantee"]["type"], "volume");
    assert_eq!(volume["comment"], "hello");
}

#[tokio::test]
async fn names_and_junctions_are_unique_in_their_svm() {
    let rest = Rest::of(Sim::builder().svm("svm1").svm("svm2")).await;
    rest.volume("v1", 100).await;
    let body = |name: &str, svm: &str, path: &str| json!({"name": name, "svm.name": svm, "aggregates": [{"name": "aggr1"}], "nas.path": path, "size": 104_857_600});
    assert_eq!(rest.bad("POST", "/storage/volumes", body("v1", "svm1", "/other")).await, (409, 1));
    assert_eq!(rest.bad("POST", "/storage/volumes", body("v2", "svm1", "/v1")).await.1, 918_188);
    assert_eq!(rest.bad("POST", "/storage/volumes", body("v2", "svm1", "/no/parent")).await.1, 918_189);
    rest.good("POST", "/storage/volumes", body("v1", "svm2", "/v1")).await;
    rest.good("POST", "/storage/volumes", body("v2", "svm1", "/v1/below")).await;
}

#[tokio::test]
async fn bad_bodies_are_refused_with_the_field_they_are_wrong_in() {
    let rest = Rest::start().await;
    let good =
        json!({"name": "v", "svm.name": "svm1", "aggregates": [{"name": "aggr1"}], "size": 104_857_600});
    for (field, value, code) in [
        ("name", json!("1v"), 917_888),
        ("name", json!("a-b"), 917_888),
        ("name", Value::Null, 262_177),
        ("svm.name", json!("nobody"), 2_621_462),
        ("aggregates", json!([]), 787_140),
        ("aggregates", json!([{"name": "none"}]), 787_139),
        ("size", json!(1), 917_534),
        ("size", json!("big"), 262_197),
        ("colour", json!("red"), 262_179),
        ("uuid", json!("x"), 262_196),
        ("snapshot_policy.name", json!("never"), 1_638_414),
        ("nas.export_policy.name", json!("nowhere"), 1_703_954),
        ("nas.security_style", json!("odd"), 262_197),
        ("nas.unix_permissions", json!(798), 262_197),
        ("qos.policy.name", json!("none_such"), 8_454_260),
    ] {
        let mut body = good.clone();
        body[field] = value;
        assert_eq!(rest.bad("POST", "/storage/volumes", body).await.1, code, "{field}");
    }
    let count = rest.get("/storage/volumes?return_records=false").await;
    assert_eq!(count["num_records"], 1, "nothing but the root volume");
}

#[tokio::test]
async fn thick_volumes_take_the_aggregate_and_thin_ones_do_not() {
    let rest = Rest::of(Sim::builder().aggregate("aggr1", 3 << 30, "ssd")).await;
    let body = |name: &str, kind: &str| {
        json!({"name": name, "svm.name": "svm1", "aggregates": [{"name": "aggr1"}], "size": 1_610_612_736_u64,
               "guarantee.type": kind})
    };
    let thick = rest.make("/storage/volumes", body("thick", "volume")).await;
    assert_eq!(rest.bad("POST", "/storage/volumes", body("more", "volume")).await.1, 917_835);
    let thin = rest.make("/storage/volumes", body("thin", "none")).await;
    assert_eq!(rest.bad("PATCH", &thin, json!({"guarantee.type": "volume"})).await.1, 917_835);
    assert_eq!(rest.bad("PATCH", &thick, json!({"size": 3_221_225_472_u64})).await.1, 917_835);
    rest.good("PATCH", &thin, json!({"size": 32_212_254_720_u64})).await;
    let space = &rest.get("/storage/aggregates?fields=space").await["records"][0]["space"]["block_storage"];
    assert_eq!(space["used"], (1_u64 << 30) + 1_610_612_736);
}

#[tokio::test]
async fn a_volume_shrinks_to_what_it_holds_and_no_further() {
    let rest = Rest::start().await;
    let path = rest.volume("v", 1000).await;
    let uuid = path.rsplit('/').next().unwrap();
    rest.sim.edit().change("volumes", uuid, |volume| volume["_used"] = json!(500 << 20));
    assert_eq!(rest.bad("PATCH", &path, json!({"size": 400 << 20})).await.1, 917_538);
    rest.good("PATCH", &path, json!({"size": 700 << 20})).await;
}

#[tokio::test]
async fn a_mounted_volume_is_neither_deleted_nor_taken_offline() {
    let rest = Rest::start().await;
    let path = rest.volume("v", 100).await;
    assert_eq!(rest.bad("DELETE", &path, Value::Null).await.0, 409);
    assert_eq!(rest.bad("PATCH", &path, json!({"state": "offline"})).await.0, 409);
    rest.good("PATCH", &path, json!({"nas.path": ""})).await;
    rest.good("PATCH", &path, json!({"state": "offline"})).await;
    rest.good("DELETE", &path, json!({})).await;
    assert_eq!(rest.bad("GET", &path, Value::Null).await, (404, 917_927));
}

#[tokio::test]
async fn a_deleted_volume_waits_in_the_recovery_queue_unless_forced() {
    let rest = Rest::start().await;
    let queue = "/private/cli/volume/recovery-queue?vserver=svm1&volume=v*";
    for (forced, left) in [("", 1), ("?force=true", 1)] {
        let path = rest.volume("v", 100).await;
        rest.good("PATCH", &path, json!({"nas.path": ""})).await;
        rest.good("DELETE", &format!("{path}{forced}"), Value::Null).await;
        assert_eq!(rest.get(queue).await["num_records"], left);
    }
    let queued = rest.get(queue).await["records"][0]["volume"].clone();
    let body = json!({"vserver": "svm1", "volume": queued});
    rest.good("POST", "/private/cli/volume/recovery-queue/purge", body).await;
    assert_eq!(rest.get(queue).await["num_records"], 0);
}

#[tokio::test]
async fn a_snapshot_with_a_clone_is_busy_until_the_clone_is_split_or_gone_for_good() {
    let rest = Rest::start().await;
    let path = rest.volume("v", 100).await;
    let snapshot = rest.make(&format!("{path}/snapshots"), json!({"name": "s1"})).await;
    let clone = |name: &str| {
        json!({"name": name, "svm.name": "svm1", "clone.parent_volume.name": "v", "clone.parent_snapshot.name": "s1",
               "clone.is_flexclone": true})
    };
    let first = rest.make("/storage/volumes", clone("c1")).await;
    let second = rest.make("/storage/volumes", clone("c2")).await;
    let shown = rest.get(&format!("{first}?fields=clone,size")).await;
    assert_eq!(shown["clone"]["parent_snapshot"]["name"], "s1");
    assert_eq!(shown["size"], 100 << 20);
    let children = "/storage/volumes?clone.parent_volume.name=v&clone.parent_snapshot.name=s1";
    assert_eq!(rest.get(children).await["num_records"], 2);
    assert_eq!(rest.bad("DELETE", &snapshot, Value::Null).await, (409, 1_638_555));
    rest.good("PATCH", &path, json!({"nas.path": ""})).await;
    assert_eq!(rest.bad("DELETE", &path, Value::Null).await, (409, 524_486));
    rest.good("PATCH", &first, json!({"clone.split_initiated": true})).await;
    rest.good("DELETE", &second, Value::Null).await;
    assert_eq!(rest.bad("DELETE", &snapshot, Value::Null).await.1, 1_638_555, "the queue still holds it");
    let queued = rest.get("/private/cli/volume/recovery-queue").await["records"][0]["volume"].clone();
    let purge = json!({"vserver": "svm1", "volume": queued});
    rest.good("POST", "/private/cli/volume/recovery-queue/purge", purge).await;
    rest.good("DELETE", &snapshot, Value::Null).await;
    rest.good("DELETE", &format!("{path}?force=true"), Value::Null).await;
    assert_eq!(rest.get(&format!("{first}?fields=clone")).await["clone"]["is_flexclone"], false);
}

#[tokio::test]
async fn a_split_takes_its_time_by_the_clock() {
    let start = "2026-01-01T00:00:00Z".parse().unwrap();
    let clock = sim_ontap::Clock::virtual_at(start);
    let minute = std::time::Duration::from_secs(60);
    let rest = Rest::of(Sim::builder().clock(clock).split_time(minute)).await;
    rest.volume("v", 100).await;
    let body =
        json!({"name": "c", "svm.name": "svm1", "clone.parent_volume.name": "v", "clone.is_flexclone": true});
    let clone = rest.make("/storage/volumes", body).await;
    rest.good("PATCH", &clone, json!({"clone.split_initiated": true})).await;
    let shown = rest.get(&format!("{clone}?fields=clone")).await;
    assert_eq!(
        (&shown["clone"]["is_flexclone"], &shown["clone"]["split_initiated"]),
        (&json!(true), &json!(true))
    );
    rest.sim.clock().advance(minute);
    assert_eq!(rest.get(&format!("{clone}?fields=clone")).await["clone"]["is_flexclone"], false);
}

#[tokio::test]
async fn a_restore_takes_newer_snapshots_with_it_unless_one_is_busy() {
    let rest = Rest::start().await;
    let path = rest.volume("v", 100).await;
    for name in ["s1", "s2", "s3"] {
        rest.make(&format!("{path}/snapshots"), json!({"name": name})).await;
    }
    let body = json!({"name": "c", "svm.name": "svm1", "clone.parent_volume.name": "v",
                      "clone.parent_snapshot.name": "s3", "clone.is_flexclone": true});
    let clone = rest.make("/storage/volumes", body).await;
    let restore = format!("{path}?restore_to.snapshot.name=s1");
    assert_eq!(rest.bad("PATCH", &restore, json!({})).await.1, 1_638_555);
    rest.good("DELETE", &format!("{clone}?force=true"), Value::Null).await;
    rest.good("PATCH", &restore, json!({})).await;
    let left = rest.get(&format!("{path}/snapshots")).await;
    assert_eq!((&left["num_records"], &left["records"][0]["name"]), (&json!(1), &json!("s1")));
    assert_eq!(rest.bad("PATCH", &format!("{path}?restore_to.snapshot.name=s9"), json!({})).await.0, 404);
}

#[tokio::test]
async fn snapshots_have_a_limit_and_unique_names() {
    let rest = Rest::of(Sim::builder().limits(|limits| limits.snapshots_per_volume = 3)).await;
    let path = format!("{}/snapshots", rest.volume("v", 100).await);
    for name in ["s1", "s2", "s3"] {
        rest.make(&path, json!({"name": name})).await;
    }
    assert_eq!(rest.bad("POST", &path, json!({"name": "s4"})).await.1, 1_638_480);
    assert_eq!(rest.bad("POST", &path, json!({"name": "s1"})).await, (409, 1));
}

#[tokio::test]
async fn nodes_hold_so_many_volumes() {
    let rest = Rest::of(Sim::builder().nodes(1).limits(|limits| limits.volumes_per_node = 3)).await;
    rest.volume("v1", 100).await;
    rest.volume("v2", 100).await;
    let body =
        json!({"name": "v3", "svm.name": "svm1", "aggregates": [{"name": "aggr1"}], "size": 104_857_600});
    assert_eq!(rest.bad("POST", "/storage/volumes", body).await.1, 917_838);
}

#[tokio::test]
async fn a_flexgroup_lies_on_many_aggregates_and_has_a_least_size() {
    let rest = Rest::start().await;
    let body = |mib: u64| {
        json!({"name": "fg", "svm.name": "svm1", "style": "flexgroup", "size": mib << 20, "guarantee.type": "none",
               "aggregates": [{"name": "aggr1"}, {"name": "aggr2"}], "constituents_per_aggregate": 4})
    };
    assert_eq!(rest.bad("POST", "/storage/volumes", body(799)).await.1, 917_534);
    let path = rest.make("/storage/volumes", body(800)).await;
    let shown = rest.get(&path).await;
    assert_eq!((&shown["style"], &shown["constituent_count"]), (&json!("flexgroup"), &json!(8)));
    rest.good("PATCH", &path, json!({"size": 900 << 20})).await;
    assert_eq!(rest.bad("PATCH", &path, json!({"size": 850 << 20})).await.1, 917_537);
}

#[tokio::test]
async fn an_export_policy_in_use_stays_and_its_rules_are_checked() {
    let rest = Rest::start().await;
    let policy = rest.make("/protocols/nfs/export-policies", json!({"name": "p", "svm.name": "svm1"})).await;
    let rules = format!("{policy}/rules");
    let rule = |client: &str| {
        json!({"clients": [{"match": client}], "protocols": ["nfs"], "ro_rule": ["any"], "rw_rule": ["any"],
               "superuser": ["any"]})
    };
    let first = rest.make(&rules, rule("10.0.0.1")).await;
    rest.make(&rules, rule("10.0.0.0/24")).await;
    assert_eq!(rest.bad("POST", &rules, rule("10.0.0.1")).await.1, 1_704_070);
    assert_eq!(rest.bad("POST", &rules, rule("10.0.0.0/99")).await.1, 1_704_036);
    let mut odd = rule("10.0.0.9");
    odd["ro_rule"] = json!(["some"]);
    assert_eq!(rest.bad("POST", &rules, odd).await.1, 262_197);
    let volume = rest.volume("v", 100).await;
    rest.good("PATCH", &volume, json!({"nas.export_policy.name": "p"})).await;
    assert_eq!(rest.bad("DELETE", &policy, Value::Null).await, (409, 1_703_945));
    rest.good("DELETE", &first, Value::Null).await;
    let shown = rest.get(&format!("{policy}?fields=rules")).await;
    assert_eq!(shown["rules"][0]["clients"], json!([{"match": "10.0.0.0/24"}]));
    rest.good("PATCH", &volume, json!({"nas.export_policy.name": "default"})).await;
    rest.good("DELETE", &policy, Value::Null).await;
}

#[tokio::test]
async fn which_kind_of_array_it_is_can_be_asked_since_9_16_1() {
    let old = Rest::of(Sim::builder().version("9.15.1")).await;
    assert_eq!(old.bad("GET", "/cluster?fields=san_optimized", Value::Null).await, (400, 262_197));
    old.get("/cluster?fields=san_optimized&ignore_unknown_fields=true").await;
    let afx = Rest::of(Sim::builder().version("9.17.1").personality(Personality::Afx)).await;
    let flags = afx.get("/cluster?fields=san_optimized,disaggregated").await;
    assert_eq!((&flags["san_optimized"], &flags["disaggregated"]), (&json!(false), &json!(true)));
    let path =
        afx.make("/storage/volumes", json!({"name": "v", "svm.name": "svm1", "size": 104_857_600})).await;
    assert_eq!(afx.get(&path).await["style"], "flexvol");
}
