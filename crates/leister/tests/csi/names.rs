//! What a volume of a claim is called on an array, and what its comment says.

use serde_json::{Value, json};

use crate::array;
use crate::client::{Caller, Kind};
use crate::pools::may_make_pools;
use crate::rig::Rig;

const ID: &str = "pvc-9e6cbaaa-0d04-4f3c-b0e0-8a1b9b0a3c11";

#[test]
fn a_claims_volume_is_named_and_labelled_by_the_templates_of_its_backend() {
    if !may_make_pools() {
        return;
    }
    let (runtime, sim) = array::start();
    let mut rig = Rig::bare();
    let templates = |name: &str| {
        json!({
            "labels": {"cluster": "prod", "claim": "{{.volume.Namespace}}/{{.volume.RequestName}}"},
            "defaults": {"nameTemplate": name},
        })
    };
    let name = "{{.labels.cluster}}_{{.volume.Namespace}}_{{.volume.RequestName}}";
    let config = rig.write("backend.json", &array::backend(&sim, &templates(name)));
    let socket = rig.path("csi.sock");
    let serve = ["--config", &config, "--csi-endpoint", &socket.display().to_string()];
    rig.serve(&serve);
    let caller = runtime.block_on(async { Caller::of(&socket) });
    let wanted = |id: &str, claim: Option<&str>| {
        let mut create = Caller::create(id, Kind::Files, 64 << 20);
        create.parameters.insert("storagePools".to_owned(), "array:.*".to_owned());
        for (key, value) in claim.iter().flat_map(|claim| [("pvc/name", *claim), ("pvc/namespace", "shop")]) {
            create.parameters.insert(format!("csi.storage.k8s.io/{key}"), value.to_owned());
        }
        create
    };
    let create = |id, claim| {
        let mut controller = caller.controller.clone();
        runtime.block_on(controller.create_volume(wanted(id, claim))).unwrap()
    };
    create(ID, Some("db-data"));
    create(ID, Some("db-data"));
    create("plain", None);
    create("long", Some(&"x".repeat(240)));

    let state = sim.state();
    let volumes: Vec<&Value> = state.list("volumes").filter(|v| called(v).starts_with("t_")).collect();
    let mut names: Vec<&str> = volumes.iter().map(|volume| called(volume)).collect();
    names.sort_unstable();
    assert_eq!(names, ["t_long", "t_plain", "t_prod_shop_db_data_9e6cb"]);
    let comment = |wanted: &str| -> Value {
        let volume = volumes.iter().find(|volume| called(volume) == wanted).unwrap();
        serde_json::from_str(volume["comment"].as_str().unwrap()).unwrap()
    };
    let of_claim = &comment("t_prod_shop_db_data_9e6cb")["provisioning"];
    assert_eq!(
        of_claim,
        &json!({"claim": "shop/db-data", "cluster": "prod", "namespace": "shop", "pvc": "db-data"})
    );
    assert_eq!(comment("t_plain")["provisioning"], json!({"claim": "/plain", "cluster": "prod"}));
    drop(state);

    // Its name stays its name, whatever the template says later.
    assert_eq!(rig.stop(), Some(0));
    rig.write("backend.json", &array::backend(&sim, &templates("other_{{.volume.RequestName}}")));
    rig.serve(&serve);
    let caller = runtime.block_on(async { Caller::of(&socket) });
    runtime.block_on(caller.controller.clone().create_volume(wanted(ID, Some("db-data")))).unwrap();
    let gone = csi::wire::DeleteVolumeRequest { volume_id: ID.to_owned(), ..Default::default() };
    runtime.block_on(caller.controller.clone().delete_volume(gone)).unwrap();
    let state = sim.state();
    assert!(!state.list("volumes").any(|volume| called(volume).contains("db_data")));
    assert_eq!(rig.stop(), Some(0));
}

fn called(volume: &Value) -> &str {
    volume["name"].as_str().unwrap_or_default()
}
