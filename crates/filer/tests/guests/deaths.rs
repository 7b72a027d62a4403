use model::Bytes;
use serde_json::{Value, json};

use crate::on_the_rig;
use crate::storage::{permit, run, settings, volume};

#[test]
fn a_death_at_any_change_of_the_kernel_is_made_good_by_the_next_try() {
    on_the_rig(|rig| {
        let storage = rig.guest("storage");
        storage
            .exec("mkdir -p /srv/pool/d && truncate -s 16M /srv/pool/d1.img && truncate -s 16M /srv/pool/d2.img")
            .ok("volumes");
        let permits = [permit(rig, "node1"), permit(rig, "node2")];
        let size = Bytes::mib(16);
        let all = json!([
            volume("d0", "nfs", json!({ "directory": "/srv/pool/d" }), size, &permits),
            volume("d1", "iscsi", json!({ "image": "/srv/pool/d1.img" }), size, &permits),
            volume("d2", "nvme", json!({ "image": "/srv/pool/d2.img" }), size, &permits),
        ]);
        let wish = |key: &str, value: &Value, steps: Option<u32>| json!({ "settings": settings(rig), key: value, "dieAfter": steps });
        let gone = json!(["d0", "d1", "d2"]);
        for (key, value) in [("serve", &all), ("withdraw", &gone)] {
            let mut deaths = 0;
            // Each try goes on where the one before it died, and gets one change further.
            while !run(rig, &wish(key, value, Some(deaths))).is_ok() {
                deaths += 1;
                assert!(deaths < 200, "{key} never ends");
            }
            assert!(deaths > 5, "{key} died {deaths} times only");
            let said: Value = serde_json::from_str(&run(rig, &wish(key, value, None)).ok(key)).unwrap();
            for handle in ["d0", "d1", "d2"] {
                let clients = said["list"][handle].as_array().map_or(0, Vec::len);
                assert_eq!(clients, if key == "serve" { 2 } else { 0 }, "{handle}: {said}");
            }
        }
    });
}
