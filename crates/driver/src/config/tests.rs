use model::{
    Attribute, Capacity, Filesystem, Labels, Offer, Offers, Pool, Provisioning, Topology, VolumeOptions,
};
use proptest::prelude::*;

use super::fields::TOPOLOGY_KEYS;
use super::*;

const HEAD: &str = "version: 1\nstorageDriverName: linux\nbackendName: gold\n";

fn parse(rest: &str) -> Result<BackendFile, ConfigError> {
    BackendFile::parse(&format!("{HEAD}{rest}"), "gold.yaml")
}

fn pool(name: &str, free: Bytes) -> Pool {
    Pool {
        backend: BackendName::new("gold").unwrap(),
        name: PoolName::new(name).unwrap(),
        offers: Offers::from([(Attribute::Media, Offer::words(["ssd"]))]),
        labels: Labels::new(),
        topologies: Vec::new(),
        layouts: BTreeSet::new(),
        shared: BTreeSet::new(),
        accepts: BTreeSet::from([VolumeOption::SnapshotDir]),
        capacity: Capacity {
            total: Bytes::gib(10),
            free_thin: free,
            free_thick: free,
            ..Capacity::default()
        },
        granularity: Bytes::new(1),
        smallest: Bytes::new(1),
        largest: None,
        default_size: Bytes::gib(1),
        default_provisioning: Provisioning::Thin,
        default_filesystem: None,
        default_options: VolumeOptions::new(),
        name_template: None,
    }
}

#[test]
fn a_file_in_tridents_format_is_understood() {
    let file = parse(
        "debug: true\ndebugTraceFlags: {api: true, method: false}\nstoragePrefix: \"\"\nlimitVolumeSize: 50Gi\n\
         disableDelete: true\nuserState: suspended\ncredentials: {name: pool-secret}\nlabels: {tier: gold}\n\
         region: north\nzone: a\nsupportedTopologies: [{topology.kubernetes.io/region: north, zone: a}]\n\
         defaults: {size: 2G, spaceReserve: volume, snapshotDir: true, fileSystemType: xfs}\n",
    )
    .unwrap();
    assert_eq!((file.name().as_str(), file.driver_name()), ("gold", "linux"));
    assert_eq!((file.prefix(), file.limit()), (Some(""), Some(Bytes::gib(50))));
    assert_eq!(file.user_state(), UserState::Suspended);
    assert!(file.traces("api") && !file.traces("method") && !file.traces("other"));
    assert_eq!(file.credentials().unwrap().kind, "secret");
    assert_eq!(file.warnings(), ["`disableDelete` has no effect"]);
    let pools = file.expose(vec![pool("p", Bytes::gib(4))], |_, _| true);
    let [shown] = pools.as_slice() else { panic!("{pools:?}") };
    assert_eq!(shown.name.as_str(), "p");
    assert_eq!(shown.labels["tier"], "gold");
    assert_eq!(shown.offers[&Attribute::Region], Offer::words(["north"]));
    assert_eq!(shown.topologies[0]["topology.kubernetes.io/zone"], "a");
    assert_eq!((shown.default_size, shown.largest), (Bytes::gib(2), Some(Bytes::gib(50))));
    assert_eq!(shown.default_provisioning, Provisioning::Thick);
    assert_eq!(shown.default_filesystem, Some(Filesystem::Xfs));
    assert_eq!(shown.default_options[&VolumeOption::SnapshotDir], "true");
    file.section().end().unwrap();
}

#[test]
fn json_and_yaml_and_the_stored_value_read_the_same() {
    let yaml = parse("labels: {tier: gold}\npool: /srv\n").unwrap();
    let json = BackendFile::parse(
        "\n\t{\"version\":1,\"storageDriverName\":\"linux\",\"backendName\":\"gold\",\"labels\":{\"tier\":\"gold\"},\"pool\":\"/srv\"}",
        "gold.json",
    )
    .unwrap();
    assert_eq!(yaml.to_value(), json.to_value());
    let again = BackendFile::parse(&yaml.to_value().to_string(), "store").unwrap();
    assert_eq!(again.to_value(), yaml.to_value());
    assert_eq!(again.section().text("pool").unwrap().as_deref(), Some("/srv"));
}

#[test]
fn keys_are_read_without_case_as_trident_reads_them() {
    let file = BackendFile::parse("Version: 1\nstoragedrivername: linux\nBackendname: b\n", "f").unwrap();
    assert_eq!(file.name().as_str(), "b");
    let error = parse("labels: {}\nLabels: {}\n").unwrap_err().to_string();
    assert_eq!(error, "gold.yaml: `labels`: given as `Labels` and as `labels`; keep one of them");
}

#[test]
fn a_backend_without_a_name_is_called_after_its_driver() {
    let file = BackendFile::parse("version: 1\nstorageDriverName: linux", "f").unwrap();
    assert_eq!(file.name().as_str(), "linux");
}

#[test]
fn a_prefix_that_is_absent_null_or_an_empty_map_is_the_default() {
    for (text, prefix) in [
        ("", None),
        ("storagePrefix: null\n", None),
        ("storagePrefix: {}\n", None),
        ("storagePrefix: \"\"\n", Some("")),
        ("storagePrefix: netappdvp_\n", Some("netappdvp_")),
    ] {
        assert_eq!(parse(text).unwrap().prefix(), prefix, "{text}");
    }
}

#[test]
fn virtual_pools_hide_the_physical_ones_and_override_the_backend() {
    let file = parse(
        "labels: {tier: gold, site: a}\nregion: north\ndefaults: {size: 2G, snapshotDir: \"true\"}\n\
         supportedTopologies: [{region: north}]\nstorage:\n- labels: {tier: silver}\n  zone: z\n  defaults: {size: 3G}\n\
         - region: south\n  supportedTopologies: [{zone: z2}]\n  defaults: {snapshotDirectory: \"false\", fileSystemType: raw}\n",
    )
    .unwrap();
    let physical = vec![pool("p", Bytes::gib(4)), pool("q", Bytes::gib(7))];
    let pools = file.expose(physical.clone(), |n, pool| n == 0 || pool.name.as_str() == "p");
    let names: Vec<&str> = pools.iter().map(|p| p.name.as_str()).collect();
    assert_eq!(names, ["gold_pool_0", "gold_pool_1"]);
    assert!(file.virtual_pools().map(PoolName::as_str).eq(names));
    assert_eq!((pools[0].labels["tier"].as_str(), pools[0].labels["site"].as_str()), ("silver", "a"));
    assert_eq!(pools[0].offers[&Attribute::Zone], Offer::words(["z"]));
    assert_eq!(pools[0].default_size, Bytes::gib(3));
    assert_eq!(pools[0].default_options[&VolumeOption::SnapshotDir], "true");
    assert_eq!((pools[0].capacity.total, pools[0].capacity.free_thin), (Bytes::gib(20), Bytes::gib(7)));
    assert_eq!(pools[1].offers[&Attribute::Region], Offer::words(["south"]));
    assert_eq!(pools[1].topologies, [Topology::from([(TOPOLOGY_KEYS[1].to_owned(), "z2".to_owned())])]);
    assert_eq!(pools[1].default_options[&VolumeOption::SnapshotDir], "false");
    assert_eq!(pools[1].default_filesystem, None);
    assert_eq!(pools[1].capacity.free_thin, Bytes::gib(4));
    assert!(file.expose(physical, |_, _| false).is_empty());
}

#[test]
fn a_mode_keeps_its_leading_zero() {
    let file = parse("defaults: {unixPermissions: 0770}\n").unwrap();
    assert_eq!(file.defaults().options[&VolumeOption::UnixPermissions], "0770");
}

#[test]
fn every_mistake_names_the_key_and_the_way_out() {
    for (text, message) in [
        ("debug: perhaps\n", "`debug`: `\"perhaps\"` is a text; write true or false"),
        ("userState: off\n", "`userState`: unknown state `off`; write normal or suspended"),
        ("storagePrefix: 7\n", "`storagePrefix`: a number is no prefix; write a text, or \"\" for none"),
        ("storagePrefix: _x\n", "`storagePrefix`: `_x` must start with a letter or a digit"),
        ("storagePrefix: a/b\n", "`storagePrefix`: `a/b` has the character `/`"),
        ("limitVolumeSize: 10Q\n", "`limitVolumeSize`: size `10Q` has the unknown unit `Q`"),
        ("limitVolumeSize: [1]\n", "`limitVolumeSize`: `[1]` is a list; write a text"),
        ("labels: [a]\n", "`labels`: `[\"a\"]` is a list; write a map of keys and values"),
        ("labels: {a: [b]}\n", "`labels.a`: `[\"b\"]` is a list; write a text"),
        ("region: {a: b}\n", "`region`: `{\"a\":\"b\"}` is a map; write a text"),
        ("credentials: {type: secret}\n", "`credentials.name`: missing; write the secret's name"),
        ("credentials: {name: a, kind: b}\n", "`credentials.kind`: unknown key"),
        ("supportedTopologies: {}\n", "`supportedTopologies`: `{}` is a map; write a list"),
        (
            "supportedTopologies: [{zoen: a}]\n",
            "`supportedTopologies[0].zoen`: unknown topology key; did you mean `zone`?",
        ),
        ("supportedTopologies: [{zone: a, topology.kubernetes.io/zone: b}]\n", "is given twice"),
        ("storage: {}\n", "`storage`: `{}` is a map; write a list"),
        ("storage: [a]\n", "`storage[0]`: `\"a\"` is a text; write a map"),
        (
            "storage: [{}, {defaults: {size: 1.5G}}]\n",
            "`storage[1].defaults.size`: size `1.5G` is not a whole number",
        ),
        (
            "storage: [{defaults: {snapshotDri: true}}]\n",
            "`storage[0].defaults.snapshotDri`: unknown key; did you mean `snapshotDir`?",
        ),
        (
            "defaults: {spaceReserv: none}\n",
            "`defaults.spaceReserv`: unknown key; did you mean `spaceReserve`?",
        ),
        ("defaults: {spaceReserve: fat}\n", "`defaults.spaceReserve`: unknown provisioning type `fat`"),
        (
            "defaults: {spaceReserve: none, provisioningType: thick}\n",
            "`defaults.provisioningType`: says thick while `spaceReserve` says thin",
        ),
        ("defaults: {fileSystemType: ntfs}\n", "`defaults.fileSystemType`: unknown file system `ntfs`"),
        (
            "defaults: {unixPermissions: 770}\n",
            "`defaults.unixPermissions`: a mode must be in quotes, as in \"0770\"",
        ),
        ("defaults: {snapshotDir: true, snapshotDirectory: true}\n", "snapshotDir is given twice"),
        (
            "limitVolumeSize: 1G\ndefaults: {size: 2G}\n",
            "`defaults.size`: 2GiB is more than `limitVolumeSize` 1GiB allows",
        ),
        (
            "limitVolumeSize: 1G\nstorage: [{defaults: {size: 2G}}]\n",
            "`storage[0].defaults.size`: 2GiB is more than",
        ),
        ("debugTraceFlags: {api: 3}\n", "`debugTraceFlags.api`: `3` is a number; write true or false"),
    ] {
        let error = parse(text).unwrap_err().to_string();
        assert!(error.starts_with("gold.yaml: ") && error.contains(message), "{text}: {error}");
    }
}

#[test]
fn a_file_that_is_none_is_refused_with_the_reason() {
    for (text, message) in [
        ("", "f: empty; write the keys"),
        ("[]", "f: holds a list; write the keys of a backend"),
        ("hello", "f: holds a text"),
        ("{\"version\": 1,", "f: not valid JSON: "),
        ("{\"version\": 1, \"version\": 1}", "key `version` is given twice"),
        ("a: 1\na: 2\n", "f: not valid YAML: "),
        ("a: [", "f: not valid YAML: "),
        (
            "storageDriverName: linux",
            "f: `version`: this is not a backend file of version 1; write `version: 1`",
        ),
        ("version: 2", "write `version: 1`"),
        ("version: 1", "f: `storageDriverName`: missing; write the kind of storage"),
        (
            "version: 1\nstorageDriverName: linux\nbackendName: a/b",
            "f: `backendName`: backend name `a/b` has the character `/`",
        ),
    ] {
        let error = BackendFile::parse(text, "f").unwrap_err().to_string();
        assert!(error.contains(message), "{text}: {error}");
    }
}

#[test]
fn a_familys_reader_refuses_what_nobody_took() {
    let file = parse("poolSzie: 20G\nstorage: [{lables: {}}]\n").unwrap();
    let mut section = file.section();
    assert_eq!(section.size("poolSize").unwrap(), None);
    let error = section.end().unwrap_err().to_string();
    assert_eq!(error, "gold.yaml: `poolSzie`: unknown key; did you mean `poolSize`?");
    let error = file.pool_sections().remove(0).end().unwrap_err().to_string();
    assert_eq!(error, "gold.yaml: `storage[0].lables`: unknown key; did you mean `labels`?");
    let error = parse("storagePrfix: a\n").unwrap().section().end().unwrap_err().to_string();
    assert!(error.contains("did you mean `storagePrefix`?"), "{error}");
}

#[test]
fn a_default_that_the_family_cannot_honour_is_refused() {
    let accepts = BTreeSet::from([VolumeOption::SnapshotDir]);
    for (text, message) in [
        (
            "defaults: {exportPolicy: a}\n",
            "`defaults.exportPolicy`: driver `linux` cannot do this; remove it",
        ),
        ("storage: [{defaults: {exportPolicy: a}}]\n", "`storage[0].defaults.exportPolicy`"),
    ] {
        let error = parse(text).unwrap().check_defaults(&accepts).unwrap_err().to_string();
        assert!(error.contains(message), "{error}");
    }
    let file = parse("defaults: {nameTemplate: a, snapshotDir: true}\n").unwrap();
    file.check_defaults(&accepts).unwrap();
}

#[test]
fn secrets_are_never_shown() {
    let text = "username: admin\npassword: hunter2\nchapInitiatorSecret: hunter2\nEndPoint: https://a:hunter2@h/json-rpc\n\
                storage: [{apiKey: {private_key: hunter2}}]\n";
    let file = parse(text).unwrap();
    let shown = file.redacted().to_string();
    assert!(!shown.contains("hunter2") && shown.contains("********@h/json-rpc"), "{shown}");
    assert!(!format!("{file:?}").contains("hunter2"));
    assert!(file.to_value().to_string().contains("hunter2"));
    let wrong = parse("password: [hunter2]\n").unwrap().section().text("password").unwrap_err().to_string();
    assert_eq!(wrong, "gold.yaml: `password`: a list; write a text");
    let broken = BackendFile::parse("password: hunter2\n  : [hunter2", "f").unwrap_err().to_string();
    assert!(!broken.contains("hunter2"), "{broken}");
    let broken = BackendFile::parse("{\"password\": \"hunter2\" \"hunter2\"}", "f").unwrap_err().to_string();
    assert!(!broken.contains("hunter2"), "{broken}");
}

fn scraps() -> impl Strategy<Value = String> {
    let scrap = prop_oneof![
        Just("version: 1\n".to_owned()),
        Just("storageDriverName: linux\n".to_owned()),
        Just("storage:\n- ".to_owned()),
        Just("defaults: {size: ".to_owned()),
        Just("labels: &a {x: *a}\n".to_owned()),
        "[{}\\[\\]:,\"' \\n\\t&*!|>-]{0,6}",
        "\\PC{0,8}",
    ];
    prop::collection::vec(scrap, 0..12).prop_map(|scraps| scraps.concat())
}

proptest! {
    #[test]
    fn parsing_never_panics(text in scraps()) {
        for text in [text.clone(), format!("{HEAD}{text}"), format!("{{{text}")] {
            if let Ok(file) = BackendFile::parse(&text, "f") {
                let _ = (file.redacted(), file.section().end(), format!("{file:?}"));
            }
        }
    }
}

#[test]
fn the_keys_of_a_secret_count_as_if_they_stood_in_the_file_and_are_not_stored() {
    let text =
        "version: 1\nstorageDriverName: ontap-nas\ncredentials: {name: svm1}\nmanagementLIF: 10.0.0.1\n";
    let file = BackendFile::parse(text, "f").unwrap();
    let secret = |key: &str| BTreeMap::from([(key.to_owned(), "hunter2hunter2".to_owned())]);
    let whole = file.with_secret(secret("password")).unwrap();
    assert_eq!(whole.section().text("password").unwrap().as_deref(), Some("hunter2hunter2"));
    assert!(whole.credentials().is_none() && file.credentials().is_some());
    assert!(!whole.to_value().to_string().contains("hunter2") && !format!("{whole:?}").contains("hunter2"));
    let error = file.with_secret(secret("managementlif")).unwrap_err().to_string();
    assert!(error.contains("managementlif") && error.contains("credentials"), "{error}");
}
