//! What a kubelet sees of the plugin, asked as a kubelet does; `tests/kube` has the real one.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

use csi::wire::pluginregistration::registration_client::RegistrationClient;
use csi::wire::pluginregistration::{InfoRequest, PluginInfo, RegistrationStatus};
use tonic::transport::Endpoint;

use crate::pools::may_make_pools;
use crate::rig::Rig;

const LIMIT: Duration = Duration::from_secs(60);

#[test]
fn a_kubelet_finds_the_plugin_also_when_its_registry_was_emptied() {
    if !may_make_pools() {
        return;
    }
    let mut rig = Rig::bare();
    let kubelet = rig.path("kubelet");
    let words = ["--kubelet-dir", &kubelet.display().to_string(), "--csi-name", "a.example.com"];
    let refused = rig.refused(&words);
    assert!(
        refused.err.contains("no directory of a kubelet") && refused.err.contains("--root-dir"),
        "{refused:?}"
    );
    assert!(!rig.path("pool").exists(), "refused before anything is made");

    fs::create_dir(&kubelet).unwrap();
    rig.serve(&words);
    let entry = kubelet.join("plugins_registry/leister@a.example.com.sock");
    let told = ask(&entry, true).unwrap();
    let expected = kubelet.join("plugins/a.example.com/csi.sock");
    assert_eq!((told.r#type.as_str(), told.name.as_str()), ("CSIPlugin", "a.example.com"));
    assert_eq!(Path::new(&told.endpoint), expected);
    assert!(expected.exists(), "the plugin is where it says");
    assert_eq!(told.supported_versions, ["1.0.0"]);

    fs::remove_dir_all(kubelet.join("plugins_registry")).unwrap();
    let started = Instant::now();
    let again = loop {
        match ask(&entry, true) {
            Ok(told) => break told,
            Err(error) => assert!(started.elapsed() < LIMIT, "{error}\n{}", rig.log()),
        }
        std::thread::park_timeout(Duration::from_millis(20));
    };
    assert_eq!(again, told);
    assert!(rig.log().contains("the kubelet has registered the CSI plugin"), "{}", rig.log());
    assert_eq!(rig.stop(), Some(0));
    let left: Vec<_> = fs::read_dir(entry.parent().unwrap()).unwrap().map(|e| e.unwrap().path()).collect();
    assert!(left.is_empty(), "a plugin that has ended is not in the registry: {left:?}");
}

/// As when its own node is not known yet. It does not try again by itself.
#[test]
fn a_kubelet_that_could_not_register_the_plugin_is_asked_again() {
    if !may_make_pools() {
        return;
    }
    let mut rig = Rig::bare();
    let kubelet = rig.path("kubelet");
    fs::create_dir(&kubelet).unwrap();
    rig.serve(&["--kubelet-dir", &kubelet.display().to_string()]);
    let entry = kubelet.join("plugins_registry/leister@csi.leister.io.sock");
    let made = || fs::symlink_metadata(&entry).map(|found| (found.ctime(), found.ctime_nsec())).ok();
    for _ in 0..2 {
        let first = made();
        ask(&entry, false).unwrap();
        let started = Instant::now();
        while made().is_none_or(|now| Some(now) == first) {
            assert!(started.elapsed() < LIMIT, "the entry is as it was\n{}", rig.log());
            std::thread::park_timeout(Duration::from_millis(20));
        }
    }
    ask(&entry, true).unwrap();
    assert!(rig.log().contains(REASON), "{}", rig.log());
    assert_eq!(rig.stop(), Some(0));
}

const REASON: &str = "its node was not found";

fn ask(entry: &Path, registers: bool) -> Result<PluginInfo, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let endpoint =
            Endpoint::from_shared(format!("unix://{}", entry.display())).map_err(|e| e.to_string())?;
        let channel = endpoint.connect().await.map_err(|e| e.to_string())?;
        let mut kubelet = RegistrationClient::new(channel);
        let told = kubelet.get_info(InfoRequest {}).await.map_err(|e| e.to_string())?;
        let error = if registers { String::new() } else { REASON.to_owned() };
        let done = RegistrationStatus { plugin_registered: registers, error };
        kubelet.notify_registration_status(done).await.map_err(|e| e.to_string())?;
        Ok(told.into_inner())
    })
}
