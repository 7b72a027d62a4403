//! What every resource owes: fields that exist, paths that lead to it.

use serde_json::{Value, json};

use super::ALL;
use crate::{Personality, Sim};

/// One object of each kind that can be made.
const MADE: &[(&str, &str)] = &[
    ("/storage/volumes", r#"{"name":"v","aggregates":[{"name":"aggr1"}],"size":524288000,"nas.path":"/v"}"#),
    ("/storage/volumes", r#"{"name":"fg","style":"flexgroup","size":1048576000}"#),
    ("/storage/volumes", r#"{"name":"c","clone.parent_volume.name":"v","clone.is_flexclone":true}"#),
    ("/storage/qtrees", r#"{"name":"q","volume.name":"v"}"#),
    (
        "/storage/quota/rules",
        r#"{"volume.name":"v","type":"tree","qtree.name":"q","space.hard_limit":1048576}"#,
    ),
    (
        "/protocols/nfs/export-policies",
        r#"{"name":"p","rules":[{"clients":[{"match":"10.0.0.1"}],"ro_rule":["any"],"rw_rule":["any"]}]}"#,
    ),
    ("/storage/qos/policies", r#"{"name":"gold","fixed":{"max_throughput_iops":5}}"#),
    (
        "/storage/luns",
        r#"{"name":"/vol/v/l","os_type":"linux","space.size":4194304,"qos_policy.name":"gold","attributes":[{"name":"a","value":"b"}]}"#,
    ),
    (
        "/protocols/san/igroups",
        r#"{"name":"g","os_type":"linux","initiators":[{"name":"iqn.1994-05.com.redhat:one","comment":"c"}]}"#,
    ),
    ("/protocols/san/lun-maps", r#"{"lun.name":"/vol/v/l","igroup.name":"g"}"#),
    ("/storage/namespaces", r#"{"name":"/vol/v/n","os_type":"linux","space.size":4194304}"#),
    (
        "/protocols/nvme/subsystems",
        r#"{"name":"s","os_type":"linux","hosts":[{"nqn":"nqn.2014-08.org.nvmexpress:uuid:1"}]}"#,
    ),
    ("/protocols/nvme/subsystem-maps", r#"{"subsystem.name":"s","namespace.name":"/vol/v/n"}"#),
    (
        "/application/consistency-groups",
        r#"{"name":"cg","volumes":[{"name":"v","provisioning_options.action":"add"}]}"#,
    ),
];

#[tokio::test]
async fn nothing_is_shown_that_the_vendors_client_does_not_know() {
    for personality in [Personality::Unified, Personality::AsaR2] {
        let sim = Sim::builder().http().version("9.17.1").personality(personality).start().await.unwrap();
        if personality == Personality::Unified {
            for (path, body) in MADE {
                let mut body: Value = serde_json::from_str(body).unwrap();
                body["svm.name"] = json!("svm1");
                let (status, answer) = sim.ask("POST", path, body).await;
                assert!(status < 300, "{path}: {answer}");
            }
            sim.ask("PATCH", "/storage/volumes?name=v", json!({"quota.enabled": true})).await;
        } else {
            let lun = json!({"name": "l", "svm.name": "svm1", "os_type": "linux", "space.size": 4_194_304});
            assert_eq!(sim.ask("POST", "/storage/luns", lun).await.0, 201);
        }
        let state = sim.state();
        let mut found = std::collections::BTreeSet::new();
        for resource in ALL {
            for record in state.list(resource.table) {
                let mut shown = (resource.view)(&state, record);
                if let Some(fields) = shown.as_object_mut() {
                    fields.retain(|name, _| !name.starts_with('_'));
                }
                // The parent's fields are in the path, not always in the object.
                let mut unknown = resource.schema().unknown(&shown);
                unknown.retain(|path| {
                    !resource.parents().any(|parent| parent == path || parent.starts_with(path))
                });
                found.extend(unknown.into_iter().map(|path| format!("{}: {path}", resource.path)));
            }
        }
        assert!(found.is_empty(), "{found:#?}");
    }
}

#[test]
fn every_key_is_a_field_of_its_resource() {
    for resource in ALL {
        for key in resource.keys.iter().chain(resource.shown).chain(resource.order) {
            let own = key.starts_with('_') || resource.parents().any(|parent| parent == *key);
            assert!(own || resource.schema().field(key).is_some(), "{}: {key}", resource.path);
        }
    }
}
