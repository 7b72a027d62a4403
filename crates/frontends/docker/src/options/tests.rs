use std::collections::BTreeSet;

use super::*;

fn request(options: &[(&str, &str)]) -> Result<CreateRequest> {
    let options = options.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    read(VolumeId::new("v").unwrap(), &options)
}

fn refusal(options: &[(&str, &str)]) -> String {
    match request(options) {
        Ok(request) => panic!("{options:?} was accepted: {request:?}"),
        Err(error) => {
            assert_eq!(error.kind, orchestrator::ErrorKind::Invalid, "{options:?}");
            error.sentence()
        }
    }
}

#[test]
fn no_options_leave_everything_to_class_and_pool() {
    assert_eq!(request(&[]).unwrap(), CreateRequest::named(VolumeId::new("v").unwrap()));
}

#[test]
fn sizes_are_read_as_the_case_study_reads_them() {
    for (text, size) in [
        ("20G", Bytes::gib(20)),
        ("7", Bytes::gib(7)),
        ("100MiB", Bytes::mib(100)),
        ("1GB", Bytes::new(1_000_000_000)),
    ] {
        assert_eq!(request(&[("SIZE", text)]).unwrap().size, Some(size), "{text}");
    }
}

#[test]
fn every_kind_of_option_finds_its_place() {
    let request = request(&[
        ("class", "gold"),
        ("From", "db"),
        ("fromSnap", "monday"),
        ("spaceReserve", "volume"),
        ("fstype", "XFS"),
        ("accessMode", "rwo"),
        ("backend", "b"),
        ("pool", "p"),
        ("storagePools", "b:p.*"),
        ("mediaType", "SSD"),
        ("selector", "tier=gold"),
        ("iops", "500"),
        ("unixpermissions", "0770"),
        ("snapshotDirectory", "true"),
        ("labels", "app=shop, tier=web"),
    ])
    .unwrap();
    assert_eq!(request.class, Some(ClassName::new("gold").unwrap()));
    let snapshot = Some(SnapshotName::new("monday").unwrap());
    assert_eq!(request.source, Some(Source { volume: VolumeId::new("db").unwrap(), snapshot }));
    assert_eq!(request.provisioning, Some(Provisioning::Thick));
    assert_eq!((request.layout, request.filesystem), (Some(Layout::Block), Some(Filesystem::Xfs)));
    assert_eq!(request.access, Some(AccessMode::ReadWriteOnce));
    assert_eq!(request.backend, Some(BackendName::new("b").unwrap()));
    assert_eq!(request.pool, Some(PoolName::new("p").unwrap()));
    let parameters: BTreeSet<_> = request.parameters.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    let expected = [("storagePools", "b:p.*"), ("media", "SSD"), ("selector", "tier=gold"), ("IOPS", "500")];
    assert_eq!(parameters, expected.into());
    assert_eq!(request.options[&VolumeOption::UnixPermissions], "0770");
    assert_eq!(request.options[&VolumeOption::SnapshotDir], "true");
    assert_eq!(request.labels["app"], "shop");
}

#[test]
fn an_unknown_option_names_the_nearest_and_lists_the_known() {
    let text = refusal(&[("siez", "1G")]);
    assert!(
        text.starts_with("unknown option `siez`; did you mean `size`? known: size, class, from"),
        "{text}"
    );
    assert!(refusal(&[("fromsnapshto", "x")]).contains("did you mean `fromSnapshot`?"));
    let text = refusal(&[("qqq", "1")]);
    assert!(text.starts_with("unknown option `qqq`; known: size"), "{text}");
}

#[test]
fn bad_values_name_the_option_the_value_and_the_way_out() {
    for (name, value, parts) in [
        ("size", "10Q", &["unknown unit `Q`", "use B, K"] as &[&str]),
        ("size", "0", &["zero"]),
        ("Size", "", &["has no value", "-o Size=20G"]),
        ("class", "a b", &["has the character ` `"]),
        ("from", "a/b", &["the character `/`"]),
        ("provisioningType", "thikc", &["did you mean `thick`"]),
        ("fileSystemType", "raw", &["cannot be a Docker volume", "write ext4"]),
        ("fileSystemType", "ntfs", &["unknown file system", "known: ext3, ext4, xfs, btrfs"]),
        ("accessMode", "all", &["unknown access mode", "ReadWriteOnce"]),
        ("media", "tape", &["write hdd, hybrid or ssd"]),
        ("snapshots", "maybe", &["true or false"]),
        ("IOPS", "many", &["whole number"]),
        ("storagePools", "gold", &["backend:pool1,pool2"]),
        ("selector", "a=", &["empty"]),
        ("snapshotDir", "ja", &["write true or false"]),
        ("unixPermissions", "rwx", &["0770", "rwxrwx---"]),
        ("unixPermissions", "0880", &["octal"]),
        ("unixPermissions", "xrwxrwxrw", &["symbolic"]),
        ("snapshotReserve", "101", &["from 0 to 90"]),
        ("blockSize", "1024", &["512 or 4096"]),
        ("qos", "1,2", &["three whole numbers"]),
        ("qos", "3,2,1", &["must not fall"]),
        ("labels", "app", &["not key=value"]),
        ("labels", "a=1,a=2", &["given twice"]),
    ] {
        let text = refusal(&[(name, value)]);
        assert!(text.contains(&format!("option `{name}`")) && text.contains(value), "{text}");
        for part in parts {
            assert!(text.contains(part), "{text} lacks {part}");
        }
    }
}

#[test]
fn options_that_contradict_one_another_are_refused() {
    let text = refusal(&[("fromSnap", "monday")]);
    assert!(
        text.contains("`fromSnap`") && text.contains("`monday`") && text.contains("-o from=VOLUME"),
        "{text}"
    );
    let text = refusal(&[("provisioningType", "thin"), ("spaceReserve", "none")]);
    assert!(text.contains("`provisioningType` and `spaceReserve` mean the same"), "{text}");
    assert!(refusal(&[("size", "1"), ("SIZE", "2")]).contains("mean the same"));
    assert!(refusal(&[("from", "v")]).contains("clone of itself"));
    let text = refusal(&[("fstype", "ext4"), ("accessMode", "ReadWriteMany")]);
    assert!(text.contains("`fstype` and `accessMode` contradict"), "{text}");
}

#[test]
fn symbolic_and_octal_modes_are_accepted() {
    for mode in ["0770", "755", "rwxr-x---", "---rwxr-xr-x", "ss-rwxrwxrwx", "---------"] {
        assert!(request(&[("unixPermissions", mode)]).is_ok(), "{mode}");
    }
}

#[test]
fn all_options_and_attributes_are_in_the_reference_once() {
    let names: Vec<String> = reference::names().map(str::to_lowercase).collect();
    assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len(), "a name stands twice: {names:?}");
    for option in VolumeOption::ALL {
        assert_eq!(reference::find(option.as_str()), Some(Key::Option(*option)));
    }
    for attribute in Attribute::ALL {
        let key = reference::find(attribute.as_str()).unwrap();
        assert!(matches!(key, Key::Attribute(_) | Key::Provisioning | Key::Option(VolumeOption::Encryption)));
    }
    for help in reference() {
        assert_eq!(reference::help(reference::find(help.name).unwrap()).name, help.name);
    }
}
