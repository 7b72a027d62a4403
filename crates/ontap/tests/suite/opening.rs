//! Files, arrays and accounts that cannot be used: each refusal names what and the way out.

use driver::ErrorKind;
use driver::config::BackendFile;
use model::InstanceId;
use sim_ontap::{Personality, Sim};

const HEAD: &str = "version: 1\nbackendName: gold\n";

fn checked(text: &str) -> Result<(), String> {
    let file = BackendFile::parse(&format!("{HEAD}{text}"), "gold.yaml").map_err(|e| e.to_string())?;
    ontap::check(&file).map_err(|e| e.to_string())
}

#[test]
fn a_file_as_trident_has_it_is_understood() {
    checked(
        "storageDriverName: ontap-nas\nmanagementLIF: 10.0.0.1\ndataLIF: 10.0.0.2\nsvm: svm1\nusername: admin\n\
         password: secret\naggregate: aggr1\nuseREST: true\nlimitAggregateUsage: 80%\nlimitVolumeSize: 50Gi\n\
         nfsMountOptions: -o nfsvers=4.1,hard\nautoExportPolicy: true\nautoExportCIDRs: [10.0.0.0/8, '::/0']\n\
         nasType: nfs\nusageHeartbeat: 24\ndefaults: {spaceReserve: none, snapshotPolicy: default, \
         snapshotReserve: 5, snapshotDir: 'true', unixPermissions: '---rwxr-x---', \
         securityStyle: unix, encryption: 'false', tieringPolicy: auto, qosPolicy: q}\n\
         storage: [{labels: {tier: gold}, aggregate: aggr1, defaults: {qosPolicy: r}}]\n",
    )
    .unwrap();
    checked(
        "storageDriverName: ontap-san\nmanagementLIF: 10.0.0.1\ncredentials: {name: svm1, type: secret}\nuseCHAP: true\n",
    )
    .unwrap();
    checked(
        "storageDriverName: ontap-san\nmanagementLIF: 'fd00::1'\nusername: admin\npassword: secret\nsanType: iscsi\n\
         useCHAP: true\nchapUsername: a\nchapInitiatorSecret: aaaaaaaaaaaa\nchapTargetUsername: b\n\
         chapTargetInitiatorSecret: bbbbbbbbbbbb\ndefaults: {fileSystemType: xfs, spaceAllocation: 'true', \
         LUKSEncryption: 'true'}\n",
    )
    .unwrap();
}

#[test]
fn mistakes_name_the_key_and_the_way_out() {
    let nas = "storageDriverName: ontap-nas\nmanagementLIF: 10.0.0.1\n";
    let san = "storageDriverName: ontap-san\nmanagementLIF: 10.0.0.1\nusername: a\npassword: b\n";
    let account = "username: a\npassword: b\n";
    for (text, parts) in [
        ("storageDriverName: ontap-nas\nusername: a\npassword: b\n".to_owned(), ["managementLIF", "missing"]),
        (
            format!("storageDriverName: ontap-nas\n{account}managementLIF: https://x/\n"),
            ["managementLIF", "no address"],
        ),
        (nas.to_owned(), ["username", "missing"]),
        (format!("{nas}credentials: {{name: s, type: awsarn}}\n"), ["credentials.type", "awsarn"]),
        (format!("{nas}{account}credentials: {{name: s}}\n"), ["username", "keep one of them"]),
        (format!("{nas}username: a\n"), ["password", "missing"]),
        (format!("{nas}{account}clientCertificate: x\n"), ["clientCertificate", "not PEM"]),
        (format!("{nas}{account}trustedCACertificate: '%'\n"), ["trustedCACertificate", "not PEM"]),
        (format!("{nas}{account}useREST: false\n"), ["useREST", "only REST"]),
        (format!("{nas}{account}nasType: smb\n"), ["nasType", "only nfs"]),
        (format!("{nas}{account}sanType: iscsi\n"), ["sanType", "reached over NFS"]),
        (format!("{san}sanType: fcp\n"), ["sanType", "Fibre Channel"]),
        (format!("{san}dataLIF: 10.0.0.2\n"), ["dataLIF", "every data LIF"]),
        (format!("{san}nfsMountOptions: soft\n"), ["nfsMountOptions", "not NFS"]),
        (format!("{san}useCHAP: true\nchapUsername: a\n"), ["chapInitiatorSecret", "missing"]),
        (format!("{san}chapUsername: a\n"), ["chapUsername", "useCHAP"]),
        (format!("{nas}{account}limitAggregateUsage: 120%\n"), ["limitAggregateUsage", "no share"]),
        (format!("{nas}{account}autoExportCIDRs: [10.0.0.0]\n"), ["autoExportCIDRs", "no range"]),
        (format!("{nas}{account}qtreesPerFlexvol: 100\n"), ["qtreesPerFlexvol", "share no FlexVol"]),
        (format!("{nas}{account}aws: {{apiRegion: x}}\n"), ["aws", "cloud"]),
        (format!("{nas}{account}aggregat: x\n"), ["aggregat", "did you mean `aggregate`"]),
        (format!("{nas}{account}storagePrefix: 1x\n"), ["storagePrefix", "not a digit first"]),
        (format!("{nas}{account}defaults: {{tieringPolicy: warm}}\n"), ["defaults.tieringPolicy", "one of"]),
        (
            format!("{nas}{account}defaults: {{snapshotReserve: '95'}}\n"),
            ["defaults.snapshotReserve", "0 to 90"],
        ),
        (
            format!("{nas}{account}defaults: {{spaceAllocation: 'true'}}\n"),
            ["defaults.spaceAllocation", "remove it"],
        ),
        (
            format!("{nas}{account}storage: [{{defaults: {{securityStyle: ntfs}}}}]\n"),
            ["storage[0].defaults.securityStyle", "unix, mixed"],
        ),
        (format!("{nas}{account}defaults: {{exportPolicy: p}}\n"), ["defaults.exportPolicy", "remove it"]),
        (format!("{nas}{account}defaults: {{splitOnClone: 'false'}}\n"), ["defaults.splitOnClone", "always"]),
    ] {
        let error = checked(&text).unwrap_err();
        assert!(parts.iter().all(|part| error.contains(part)), "{text}\n{error}");
        assert!(!error.contains("password: b"), "{error}");
    }
}

pub(crate) async fn opened(sim: &Sim, rest: &str) -> Result<(), (ErrorKind, String)> {
    let text = format!("{HEAD}managementLIF: {}\n{rest}\n", sim.address());
    let file = BackendFile::parse(&text, "gold.yaml").unwrap();
    let opened = ontap::open(&file, InstanceId::new("ours").unwrap()).await;
    opened.map(drop).map_err(|e| (e.kind, e.to_string()))
}

#[tokio::test]
async fn an_array_that_does_not_fit_says_why() {
    let sim = Sim::builder().svm("svm1").svm("svm2").user("admin", "netapp123").start().await.unwrap();
    let nas = "storageDriverName: ontap-nas\nusername: admin\n";
    for (rest, kind, part) in [
        ("password: wrong\nsvm: svm1", ErrorKind::Denied, "may not"),
        ("password: netapp123", ErrorKind::Invalid, "several SVMs"),
        ("password: netapp123\nsvm: svm3", ErrorKind::NotFound, "no SVM `svm3`"),
        ("password: netapp123\nsvm: svm1\naggregate: aggr9", ErrorKind::NotFound, "not among those of SVM"),
    ] {
        let (seen, message) = opened(&sim, &format!("{nas}{rest}")).await.unwrap_err();
        assert!(seen == kind && message.contains(part), "{rest}: {seen:?} {message}");
        assert!(!message.contains("netapp123"), "{message}");
    }
    let old = Sim::builder().svm("s").user("admin", "netapp123").version("9.11.1").start().await.unwrap();
    let (kind, message) = opened(&old, &format!("{nas}password: netapp123")).await.unwrap_err();
    assert!(
        kind == ErrorKind::Unsupported && message.contains("9.11.1") && message.contains("9.12.1"),
        "{message}"
    );
    let asa =
        Sim::builder().svm("s").user("admin", "netapp123").personality(Personality::AsaR2).version("9.17.1");
    let asa = asa.start().await.unwrap();
    let (kind, message) = opened(&asa, &format!("{nas}password: netapp123")).await.unwrap_err();
    assert!(kind == ErrorKind::Unsupported && message.contains("ASA r2"), "{message}");
    let address = old.address();
    drop(old);
    let file = format!("{HEAD}managementLIF: {address}\n{nas}password: netapp123\n");
    let file = BackendFile::parse(&file, "gold.yaml").unwrap();
    let error = ontap::open(&file, InstanceId::new("ours").unwrap()).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unreachable, "{error}");
}

#[tokio::test]
async fn a_certificate_is_checked_where_an_authority_is_named() {
    use base64::Engine as _;
    let sim = Sim::builder().svm("svm1").user("admin", "netapp123").start().await.unwrap();
    let other = Sim::builder().svm("svm1").user("admin", "netapp123").start().await.unwrap();
    let rest = |pem: &str| {
        let pem = base64::engine::general_purpose::STANDARD.encode(pem);
        format!(
            "storageDriverName: ontap-nas\nusername: admin\npassword: netapp123\ntrustedCACertificate: {pem}\n"
        )
    };
    opened(&sim, &rest(sim.certificate().unwrap())).await.unwrap();
    let (kind, message) = opened(&sim, &rest(other.certificate().unwrap())).await.unwrap_err();
    assert_eq!(kind, ErrorKind::Unreachable, "{message}");
}
