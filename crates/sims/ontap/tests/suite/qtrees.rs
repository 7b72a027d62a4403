//! Qtrees, quotas and QoS.

use serde_json::{Value, json};
use sim_ontap::Sim;

use crate::rest::Rest;

fn qtree(name: &str) -> Value {
    json!({"name": name, "svm.name": "svm1", "volume.name": "v"})
}

fn rule(qtree: &str, limit: i64) -> Value {
    json!({"svm.name": "svm1", "volume.name": "v", "type": "tree", "qtree.name": qtree, "space.hard_limit": limit})
}

#[tokio::test]
async fn a_volume_has_only_so_many_qtrees_each_with_its_name() {
    let rest = Rest::of(Sim::builder().limits(|limits| limits.qtrees_per_volume = 3)).await;
    let volume = rest.volume("v", 100).await;
    for name in ["a", "b", "c"] {
        rest.make("/storage/qtrees", qtree(name)).await;
    }
    assert_eq!(rest.bad("POST", "/storage/qtrees", qtree("d")).await.1, 5_242_960);
    assert_eq!(rest.bad("POST", "/storage/qtrees", qtree("a")).await.0, 409);
    assert_eq!(rest.bad("POST", "/storage/qtrees", qtree("")).await.1, 5_242_953);
    assert_eq!(rest.bad("POST", "/storage/qtrees", qtree(&"x".repeat(65))).await.1, 262_197);
    let found = rest.get("/storage/qtrees?volume.name=v&name=b&fields=path").await;
    assert_eq!(found["records"][0]["path"], "/v/b");
    let uuid = volume.rsplit('/').next().unwrap();
    let path = format!("/storage/qtrees/{uuid}/2");
    rest.good("PATCH", &path, json!({"name": "deleted_b"})).await;
    rest.good("DELETE", &path, Value::Null).await;
    rest.make("/storage/qtrees", qtree("d")).await;
    assert_eq!(rest.bad("DELETE", &format!("/storage/qtrees/{uuid}/0"), Value::Null).await.0, 400);
}

#[tokio::test]
async fn a_rule_counts_when_quotas_were_turned_on_after_it_or_over_one_of_its_kind() {
    let rest = Rest::start().await;
    let volume = rest.volume("v", 100).await;
    rest.make("/storage/qtrees", qtree("a")).await;
    rest.make("/storage/qtrees", qtree("b")).await;
    let on = json!({"quota.enabled": true});
    assert_eq!(rest.bad("PATCH", &volume, on.clone()).await.1, 5_308_567);
    let made = rest.make("/storage/quota/rules", rule("a", 10 << 20)).await;
    let report = "/storage/quota/reports?volume.name=v&fields=space.hard_limit";
    assert_eq!(rest.get(report).await["num_records"], 0);
    rest.good("PATCH", &volume, on).await;
    assert_eq!(rest.get(report).await["records"][0]["space"]["hard_limit"], 10 << 20);
    rest.make("/storage/quota/rules", rule("b", 5 << 20)).await;
    assert_eq!(rest.get(report).await["num_records"], 2);
    rest.good("PATCH", &made, json!({"space.hard_limit": 20 << 20})).await;
    let limits = rest.get(&format!("{report}&qtree.name=a")).await;
    assert_eq!(limits["records"][0]["space"]["hard_limit"], 20 << 20);
    assert_eq!(rest.bad("POST", "/storage/quota/rules", rule("a", 1)).await.0, 409);
    assert_eq!(rest.bad("POST", "/storage/quota/rules", rule("none", 1)).await, (404, 5_242_927));
    let found =
        rest.get("/storage/quota/rules?volume.name=v&type=tree&fields=space.hard_limit,qtree.name").await;
    assert_eq!(found["num_records"], 2);
    assert_eq!(rest.get(&format!("{volume}?fields=quota")).await["quota"]["state"], "on");
    rest.good("PATCH", &volume, json!({"quota.enabled": false})).await;
    assert_eq!(rest.get(report).await["num_records"], 0);
}

#[tokio::test]
async fn a_quality_of_service_policy_in_use_stays() {
    let rest = Rest::start().await;
    let gold = json!({"name": "gold", "svm.name": "svm1", "fixed.max_throughput_iops": 500});
    let policy = rest.make("/storage/qos/policies", gold.clone()).await;
    assert_eq!(rest.bad("POST", "/storage/qos/policies", gold).await, (409, 8_454_154));
    let both = json!({"name": "x", "svm.name": "svm1", "fixed": {}, "adaptive": {}});
    assert_eq!(rest.bad("POST", "/storage/qos/policies", both).await.0, 400);
    let volume = rest.volume("v", 100).await;
    rest.good("PATCH", &volume, json!({"qos.policy.name": "gold"})).await;
    rest.good("PATCH", &policy, json!({"name": "golden"})).await;
    assert_eq!(rest.get(&format!("{volume}?fields=qos")).await["qos"]["policy"]["name"], "golden");
    assert_eq!(rest.bad("DELETE", &policy, Value::Null).await.0, 409);
    rest.good("PATCH", &volume, json!({"qos.policy.name": "none"})).await;
    rest.good("DELETE", &policy, Value::Null).await;
}

#[tokio::test]
async fn a_group_snapshot_is_of_all_volumes_or_of_none() {
    let rest = Rest::start().await;
    let first = rest.volume("g1", 100).await;
    let second = rest.volume("g2", 100).await;
    let member = |name: &str| json!({"name": name, "provisioning_options": {"action": "add"}});
    let body = json!({"name": "cg", "svm.name": "svm1", "volumes": [member("g1"), member("g2")]});
    let group = rest.make("/application/consistency-groups", body).await;
    rest.make(&format!("{second}/snapshots"), json!({"name": "s"})).await;
    let snapshots = format!("{group}/snapshots");
    assert_eq!(rest.bad("POST", &snapshots, json!({"name": "s"})).await.1, 53_411_921);
    assert_eq!(rest.get(&format!("{first}/snapshots")).await["num_records"], 0, "nothing half done");
    let both = rest.make(&snapshots, json!({"name": "both"})).await;
    assert_eq!(rest.get(&both).await["snapshot_volumes"].as_array().unwrap().len(), 2);
    let other = json!({"name": "other", "svm.name": "svm1", "volumes": [member("g1")]});
    assert_eq!(rest.bad("POST", "/application/consistency-groups", other).await.0, 409);
    rest.good("PATCH", &first, json!({"nas": {"path": ""}})).await;
    assert_eq!(rest.bad("DELETE", &first, Value::Null).await.0, 409, "it is in a group");
    let body = json!({"name": "fg", "svm.name": "svm1", "size": 1 << 30, "style": "flexgroup", "aggregates": [{"name": "aggr1"}]});
    rest.make("/storage/volumes", body).await;
    let groups = "/application/consistency-groups";
    let other = json!({"name": "other", "svm.name": "svm1", "volumes": [member("fg")]});
    assert_eq!(rest.bad("POST", groups, other).await.0, 400, "no FlexGroups");
    rest.good("DELETE", &group, Value::Null).await;
    assert_eq!(rest.get(&format!("{first}/snapshots")).await["num_records"], 1, "snapshots stay");
    rest.good("DELETE", &first, Value::Null).await;
}
