//! What a volume of a claim is called on an array, and what its comment says.

use serde_json::{Value, json};
use sim_ontap::Sim;

use crate::client::{Caller, Kind};
use crate::pools::may_make_pools;
use crate::rig::Rig;

const ID: &str = "pvc-9e6cbaaa-0d04-4f3c-b0e0-8a1b9b0a3c11";

#[test]
fn a_claims_volume_is_named_and_labelled_by_the_templates_of_its_backend() {
    if !may_make_pools() {
        return;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let sim = runtime.block_on(Sim::builder().svm("svm1").user("admin", "netapp123").start()).unwrap();
    let mut rig = Rig::bare();
    let backend = json!({
        "version": 1, "storageDriverName": "ontap-nas", "backendName": "array", "managementLIF": sim.address(),
        "svm": "svm1", "username": "admin", "password": "netapp123", "storagePrefix": "t_",
        "labels": {"cluster": "prod", "claim": "{{.volume.Namespace}}/{{.volume.RequestName}}"},
        "defaults": {"nameTemplate": "{{.labels.cluster}}_{{.volume.Namespace}}_{{.volume.RequestName}}"},
    });
    let config = rig.write("backend.json", &backend.to_string());
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
    let volumes: Vec<&Value> = state.list("volumes").filter(|v| name(v).starts_with("t_")).collect();
    let mut names: Vec<&str> = volumes.iter().map(|volume| name(volume)).collect();
    names.sort_unstable();
    assert_eq!(names, ["t_long", "t_plain", "t_prod_shop_db_data_9e6cb"]);
    let comment = |wanted: &str| -> Value {
        let volume = volumes.iter().find(|volume| name(volume) == wanted).unwrap();
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
    let other = backend.to_string().replace("{{.labels.cluster}}_", "other_");
    rig.write("backend.json", &other);
    rig.serve(&serve);
    let caller = runtime.block_on(async { Caller::of(&socket) });
    runtime.block_on(caller.controller.clone().create_volume(wanted(ID, Some("db-data")))).unwrap();
    let gone = csi::wire::DeleteVolumeRequest { volume_id: ID.to_owned(), ..Default::default() };
    runtime.block_on(caller.controller.clone().delete_volume(gone)).unwrap();
    let state = sim.state();
    assert!(!state.list("volumes").any(|volume| name(volume).contains("db_data")));
    assert_eq!(rig.stop(), Some(0));
}

fn name(volume: &Value) -> &str {
    volume["name"].as_str().unwrap_or_default()
}
