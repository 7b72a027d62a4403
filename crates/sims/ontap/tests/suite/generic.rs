//! What all resources have alike: queries, fields, pages, jobs, faults, accounts.

use std::time::Duration;

use serde_json::{Value, json};
use sim_ontap::{Body, Clock, Effect, JobFault, Overload, Sim};

use crate::rest::Rest;

#[tokio::test]
async fn a_collection_is_read_page_by_page_though_records_come_and_go() {
    let rest = Rest::start().await;
    for number in 0..7 {
        rest.volume(&format!("v{number}"), 100).await;
    }
    for order in ["", "&order_by=name desc"] {
        let mut path = format!("/storage/volumes?name=v*&fields=size&max_records=3{order}");
        let mut names = Vec::new();
        loop {
            let page = rest.get(&path).await;
            let records = page["records"].as_array().unwrap();
            assert!(records.len() <= 3);
            names.extend(records.iter().map(|record| record["name"].as_str().unwrap().to_owned()));
            assert!(records.iter().all(|record| record["size"] == 100 << 20));
            let Some(next) = page["_links"]["next"]["href"].as_str() else { break };
            path = next.strip_prefix("/api").unwrap().to_owned();
        }
        let mut sorted = names.clone();
        sorted.sort();
        sorted.dedup();
        assert_eq!(sorted.len(), 7, "each once: {names:?}");
        if !order.is_empty() {
            sorted.reverse();
            assert_eq!(names, sorted);
        }
    }
    let first = rest.get("/storage/volumes?name=v*&max_records=3").await;
    let last_seen = first["records"][2]["uuid"].as_str().unwrap();
    rest.sim.edit().remove("volumes", last_seen);
    let next = first["_links"]["next"]["href"].as_str().unwrap().strip_prefix("/api").unwrap();
    assert_eq!(rest.get(next).await["records"].as_array().unwrap().len(), 3);
}

#[tokio::test]
async fn a_query_finds_by_every_field_and_refuses_unknown_ones() {
    let rest = Rest::start().await;
    rest.volume("small", 100).await;
    rest.volume("large", 900).await;
    for (query, found) in [
        ("name=small", vec!["small"]),
        ("name=small|large", vec!["large", "small"]),
        ("size=>200000000&name=!*root", vec!["large"]),
        ("name=!*root&size=100000000..200000000", vec!["small"]),
        ("svm.name=svm1&nas.path=/small", vec!["small"]),
        ("aggregates.name=aggr1&is_svm_root=false", vec!["large", "small"]),
        ("svm=svm1&name=%22large%22", vec!["large"]),
        ("name=nothing", vec![]),
        ("qos.policy.name=null&name=*a*", vec!["large", "small"]),
    ] {
        let page = rest.get(&format!("/storage/volumes?{query}&order_by=name")).await;
        let names: Vec<&str> = page["records"]
            .as_array()
            .unwrap()
            .iter()
            .map(|record| record["name"].as_str().unwrap())
            .collect();
        assert_eq!(names, found, "{query}");
        assert_eq!(page["num_records"], found.len());
    }
    assert_eq!(rest.bad("GET", "/storage/volumes?colour=red", Value::Null).await, (400, 262_179));
    assert_eq!(rest.bad("GET", "/storage/volumes?fields=colour", Value::Null).await, (400, 262_197));
    assert_eq!(rest.bad("GET", "/storage/volumes?name=a&name=b", Value::Null).await, (400, 262_188));
    assert_eq!(rest.bad("GET", "/storage/nothing", Value::Null).await.0, 404);
    assert_eq!(rest.bad("POST", "/cluster/nodes", json!({})).await, (405, 3));
    rest.get("/storage/volumes/?fields=colour&ignore_unknown_fields=true").await;
}

#[tokio::test]
async fn many_objects_are_changed_and_deleted_by_a_query() {
    let rest = Rest::start().await;
    for name in ["a1", "a2", "b1"] {
        rest.volume(name, 100).await;
    }
    rest.good("PATCH", "/storage/volumes?name=a*", json!({"nas.path": "", "comment": "gone"})).await;
    assert_eq!(rest.get("/storage/volumes?comment=gone").await["num_records"], 2);
    let answer = rest.good("DELETE", "/storage/volumes?comment=gone", json!({})).await;
    assert_eq!(answer.body["num_records"], 2);
    assert_eq!(answer.body["jobs"].as_array().unwrap().len(), 2);
    assert_eq!(rest.get("/storage/volumes?name=a*|b*").await["num_records"], 1);
    assert_eq!(rest.bad("DELETE", "/storage/volumes", json!({})).await.0, 400);
}

#[tokio::test]
async fn a_slow_job_makes_its_volume_when_the_clock_says_so() {
    let clock = Clock::virtual_at("2026-01-01T00:00:00Z".parse().unwrap());
    let rest = Rest::of(Sim::builder().clock(clock).job_time(Duration::from_secs(10))).await;
    let body =
        json!({"name": "v", "svm.name": "svm1", "aggregates": [{"name": "aggr1"}], "size": 104_857_600});
    let answer = rest.try_call("POST", "/storage/volumes", body.clone()).await.unwrap();
    let job = format!("/cluster/jobs/{}", answer.body["job"]["uuid"].as_str().unwrap());
    let volume = answer.headers["location"].to_str().unwrap().strip_prefix("/api").unwrap().to_owned();
    assert_eq!(rest.get(&job).await["state"], "running");
    assert_eq!(rest.bad("GET", &volume, Value::Null).await.0, 404);
    // A second one of the same name is taken on: nothing has it yet. Its job then fails.
    let second = rest.try_call("POST", "/storage/volumes", body).await.unwrap();
    let second = format!("/cluster/jobs/{}", second.body["job"]["uuid"].as_str().unwrap());
    rest.sim.clock().advance(Duration::from_secs(10));
    assert_eq!(rest.get(&job).await["state"], "success");
    assert_eq!(rest.get(&volume).await["name"], "v");
    let failed = rest.get(&second).await;
    assert_eq!((&failed["state"], &failed["code"]), (&json!("failure"), &json!(1)));
}

#[tokio::test]
async fn a_job_ends_when_told_and_a_caller_can_wait_for_it() {
    let rest = Rest::start().await;
    let body =
        json!({"name": "v", "svm.name": "svm1", "aggregates": [{"name": "aggr1"}], "size": 104_857_600});
    rest.sim.faults().once("POST /storage/volumes", Effect::Job(JobFault::Held));
    let waiting = rest.try_call("POST", "/storage/volumes?return_timeout=120&return_records=true", body);
    let telling = async {
        while rest.sim.state().count("_tasks") == 0 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        rest.sim.finish_jobs();
    };
    let (answer, ()) = tokio::join!(waiting, telling);
    let answer = answer.unwrap();
    assert_eq!(answer.status, 201);
    assert_eq!(answer.body["records"][0]["name"], "v");
}

#[tokio::test]
async fn a_job_fails_with_or_without_its_effect_as_the_fault_says() {
    let rest = Rest::start().await;
    let body = |name: &str| json!({"name": name, "svm.name": "svm1", "aggregates": [{"name": "aggr1"}], "size": 104_857_600});
    for (name, applied, found) in [("v1", false, 0), ("v2", true, 1)] {
        let fails =
            JobFault::Fails { code: 917_999, message: "disk on fire".into(), applied, milliseconds: 0 };
        rest.sim.faults().once("POST /storage/volumes", Effect::Job(fails));
        let answer = rest.try_call("POST", "/storage/volumes", body(name)).await.unwrap();
        assert_eq!(answer.status, 202);
        let job = rest.get(&format!("/cluster/jobs/{}", answer.body["job"]["uuid"].as_str().unwrap())).await;
        assert_eq!((&job["state"], &job["code"]), (&json!("failure"), &json!(917_999)));
        assert_eq!(job["message"], "disk on fire");
        assert_eq!(rest.get(&format!("/storage/volumes?name={name}")).await["num_records"], found);
    }
}

#[tokio::test]
async fn faults_meet_the_call_they_are_for() {
    let rest = Rest::start().await;
    let faults = rest.sim.faults();
    let volume = |name: &str| json!({"name": name, "svm.name": "svm1", "aggregates": [{"name": "aggr1"}], "size": 104_857_600});
    faults.nth("POST /storage/volumes", 2, Effect::ApplyAndDrop);
    rest.good("POST", "/storage/volumes", volume("v1")).await;
    rest.try_call("POST", "/storage/volumes", volume("v2")).await.err().expect("no reply");
    assert_eq!(rest.get("/storage/volumes?name=v2").await["num_records"], 1);
    faults.once("POST *", Effect::Drop);
    rest.try_call("POST", "/storage/volumes", volume("v3")).await.err().expect("no reply");
    assert_eq!(rest.get("/storage/volumes?name=v3").await["num_records"], 0);
    let html = Body::Text("text/html".into(), "<html>busy</html>".into());
    faults.once("GET /cluster", Effect::Answer { status: 503, body: html, headers: vec![] });
    assert_eq!(rest.try_call("GET", "/cluster", Value::Null).await.unwrap().status, 503);
    faults.once("GET /cluster", Effect::ExpireSession);
    assert_eq!(rest.bad("GET", "/cluster", Value::Null).await, (401, 6_691_623));
    faults.once("GET /cluster", Effect::ApplyAndTruncate);
    assert_eq!(rest.try_call("GET", "/cluster", Value::Null).await.unwrap().body, Value::Null);
    assert_eq!(faults.met(), 5);
    rest.get("/cluster").await;
    assert_eq!(rest.sim.calls().count("GET /cluster"), 4);
    assert_eq!(rest.sim.calls().count("POST /storage/volumes"), 3);
}

#[tokio::test]
async fn a_stalled_call_waits_for_a_word_and_calls_beyond_the_limit_are_refused() {
    let rest = Rest::start().await;
    let faults = rest.sim.faults();
    faults.once("GET /cluster", Effect::Stall { milliseconds: None });
    faults.limit_in_flight(1, Overload::Refuse { status: 429, retry_after: 1 });
    let stalled = rest.try_call("GET", "/cluster", Value::Null);
    let meanwhile = async {
        while faults.met() == 0 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        let refused = rest.try_call("GET", "/cluster/nodes", Value::Null).await.unwrap();
        assert_eq!((refused.status, refused.headers["retry-after"].to_str().unwrap()), (429, "1"));
        faults.release();
    };
    let (answer, ()) = tokio::join!(stalled, meanwhile);
    assert_eq!(answer.unwrap().status, 200);
    rest.get("/cluster/nodes").await;
}

#[tokio::test]
async fn who_belongs_to_an_svm_sees_that_one_only() {
    let builder = Sim::builder().svm("svm1").svm("svm2").svm_user("svm2", "vsadmin", "own");
    let rest = Rest::of(builder).await;
    rest.volume("v", 100).await;
    let ask = async |headers: &[(&str, &str)], path: &str| {
        rest.call_as("vsadmin", "own", headers, "GET", path, Value::Null).await.unwrap()
    };
    assert_eq!(ask(&[], "/storage/volumes").await.body["num_records"], 1);
    assert_eq!(ask(&[], "/svm/svms").await.body["records"][0]["name"], "svm2");
    assert_eq!(ask(&[], "/cluster?fields=version").await.body["version"]["generation"], 9);
    assert_eq!(ask(&[], "/cluster/nodes").await.status, 403);
    assert_eq!(ask(&[("X-Dot-SVM-Name", "svm1")], "/storage/volumes").await.status, 401);
    let named = [("X-Dot-SVM-Name", "svm1")];
    let as_admin =
        rest.call_as("admin", "secret", &named, "GET", "/storage/volumes", Value::Null).await.unwrap();
    assert_eq!(as_admin.body["num_records"], 2);
    let wrong = rest.call_as("admin", "wrong", &[], "GET", "/cluster", Value::Null).await.unwrap();
    assert_eq!(wrong.status, 401);
}

#[tokio::test]
async fn a_saved_state_is_the_same_array_again() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("state.json");
    let path = {
        let rest = Rest::of(Sim::builder().state_file(&file)).await;
        rest.sim.faults().once("POST /storage/volumes", Effect::Job(JobFault::Held));
        let body = json!({"name": "later", "svm.name": "svm1", "aggregates": [{"name": "aggr1"}], "size": 104_857_600});
        rest.try_call("POST", "/storage/volumes", body).await.unwrap();
        rest.volume("v", 100).await
    };
    let rest = Rest::of(Sim::builder().state_file(&file)).await;
    assert_eq!(rest.get(&path).await["name"], "v");
    rest.sim.finish_jobs();
    assert_eq!(rest.get("/storage/volumes?name=later").await["num_records"], 1, "jobs go on");
    drop(rest);
    std::fs::write(&file, "{}").unwrap();
    let refused = Sim::builder().state_file(&file).start().await.unwrap_err();
    assert!(refused.to_string().contains("holds no state"), "{refused}");
}

#[tokio::test]
async fn errors_can_come_by_the_job_instead_of_at_once() {
    let rest = Rest::of(Sim::builder().errors_by_job()).await;
    rest.volume("v", 100).await;
    for (name, aggregate, code) in [("w", "none", 787_139), ("v", "aggr1", 1)] {
        let body = json!({"name": name, "svm.name": "svm1", "aggregates": [{"name": aggregate}], "size": 104_857_600});
        let answer = rest.try_call("POST", "/storage/volumes", body).await.unwrap();
        assert_eq!(answer.status, 202);
        let job = rest.get(&format!("/cluster/jobs/{}", answer.body["job"]["uuid"].as_str().unwrap())).await;
        assert_eq!((&job["state"], &job["code"]), (&json!("failure"), &json!(code)));
    }
    assert_eq!(rest.bad("POST", "/storage/volumes", json!({"colour": "red"})).await.1, 262_179);
}

#[tokio::test]
async fn an_array_can_be_broken_behind_its_clients_back() {
    let rest = Rest::start().await;
    let volume = rest.volume("v", 100).await;
    rest.sim.edit().remove("volumes", volume.rsplit('/').next().unwrap());
    assert_eq!(rest.bad("GET", &volume, Value::Null).await.0, 404);
    let (status, made) = rest
        .sim
        .ask(
            "POST",
            "/storage/volumes?return_records=true",
            json!({
                "name": "by_hand", "svm.name": "svm1", "aggregates": [{"name": "aggr1"}], "size": 104_857_600,
            }),
        )
        .await;
    assert_eq!((status, &made["records"][0]["name"]), (202, &json!("by_hand")));
    let calls = rest.sim.calls().count("POST /storage/volumes");
    assert_eq!(calls, 1, "what a person does is not counted");
    for interface in rest.get("/network/ip/interfaces?services=data_nfs").await["records"].as_array().unwrap()
    {
        let path = format!("/network/ip/interfaces/{}", interface["uuid"].as_str().unwrap());
        rest.sim.ask("PATCH", &path, json!({"enabled": false})).await;
    }
    assert_eq!(rest.get("/network/ip/interfaces?state=up&services=data_nfs").await["num_records"], 0);
}

#[tokio::test]
async fn ten_thousand_volumes_are_made_found_and_listed_in_pages() {
    let rest = Rest::start().await;
    rest.volume("first", 100).await;
    let pattern =
        rest.sim.state().find_by("volumes", "name", "first").map(|(_, volume)| volume.clone()).unwrap();
    {
        let mut state = rest.sim.edit();
        for number in 0..10_000 {
            let mut volume = pattern.clone();
            let uuid = format!("{number:08}-0000-0000-0000-000000000000");
            volume["uuid"] = json!(uuid);
            volume["name"] = json!(format!("many_{number}"));
            volume["nas"]["path"] = json!(format!("/many_{number}"));
            state.put("volumes", &uuid, volume);
        }
    }
    assert_eq!(
        rest.bad(
            "POST",
            "/storage/volumes",
            json!({
                "name": "more", "svm.name": "svm1", "aggregates": [{"name": "aggr1"}], "size": 104_857_600,
                "nas.path": "/many_777", "guarantee.type": "none",
            })
        )
        .await
        .1,
        918_188,
        "the junction is taken"
    );
    assert_eq!(rest.get("/storage/volumes?name=many_777&fields=size").await["num_records"], 1);
    let mut path = "/storage/volumes?name=many_*&fields=size,nas.path&max_records=1000".to_owned();
    let mut seen = 0;
    loop {
        let page = rest.get(&path).await;
        seen += page["num_records"].as_u64().unwrap();
        let Some(next) = page["_links"]["next"]["href"].as_str() else { break };
        path = next.strip_prefix("/api").unwrap().to_owned();
    }
    assert_eq!(seen, 10_000);
    assert_eq!(rest.sim.calls().count("GET /storage/volumes"), 11, "ten pages and one search");
}

#[tokio::test]
async fn a_running_array_goes_back_to_a_state_that_was_saved() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("saved.json");
    let rest = Rest::start().await;
    let before = rest.volume("before", 100).await;
    rest.sim.save(&file).unwrap();
    let after = rest.volume("after", 100).await;
    rest.sim.edit().remove("volumes", before.rsplit('/').next().unwrap());
    assert!(rest.sim.load(&file).unwrap());
    assert_eq!(rest.get("/storage/volumes?name=before").await["num_records"], 1);
    assert_eq!(rest.bad("GET", &after, Value::Null).await.0, 404);
    rest.volume("after", 100).await;
    assert!(!rest.sim.load(&folder.path().join("none")).unwrap());
}
