//! A simulated array behind the server under test.

use serde_json::{Value, json};
use sim_ontap::Sim;
use tokio::runtime::{Builder, Runtime};

/// The array, and what it runs on.
pub(crate) fn start() -> (Runtime, Sim) {
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let sim = runtime.block_on(Sim::builder().svm("svm1").user("admin", "netapp123").start()).unwrap();
    (runtime, sim)
}

/// A backend file named `array`, with more keys.
pub(crate) fn backend(sim: &Sim, more: &Value) -> String {
    let mut file = json!({
        "version": 1, "storageDriverName": "ontap-nas", "backendName": "array", "managementLIF": sim.address(),
        "svm": "svm1", "username": "admin", "password": "netapp123", "storagePrefix": "t_",
    });
    if let (Some(file), Some(more)) = (file.as_object_mut(), more.as_object()) {
        file.extend(more.clone());
    }
    file.to_string()
}
