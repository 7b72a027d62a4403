//! Units that are not what they should be: refused with the evidence, and not a byte of the storage changes.

use std::process::Command;

use model::{Bytes, IscsiRoute};
use rig::Guest;
use wires::{Attach, Deed};

use crate::hands::{detach, done, failed, mount, obey, unmount};
use crate::iscsi::{OPEN, SIZE, nothing_is_left, serve, set_size, unit, wanted};
use crate::{LIMIT, on_rig};

/// A case: what is made on a blank device and then copied to unit a, unless it is to stay as it is; which MiB of the unit
/// are replaced by what target of device-mapper; and parts of what is then said. `{last}` stands for the last byte.
type Case = (&'static str, &'static str, &'static str, &'static [&'static str]);

/// What the scripts of cases are made of: `$u` is a blank device, `$size` its MiB, `$last` its last byte.
const WORDS: &str = r#"set -e; PATH=/run/bb:$PATH; a=/dev/mapper/a disk=/dev/ubdb last=$((size * 1048576 - 1))
blank() { /sbin/modprobe loop; truncate -s ${size}M /run/blank; u=$(/sbin/losetup -f --show /run/blank); }
copy() { dd if=$1 of=$a bs=1M conv=notrunc,fsync 2>&1; }
bytes() { dd of=$u bs=1 seek=$1 conv=notrunc 2>&1; }
fill() { dd if=/dev/urandom of=$u bs=1M seek=$1 count=$2 conv=notrunc 2>&1; }
partitions() { printf 'label: %s\nsize=8MiB\n' $1 | /sbin/sfdisk -q --no-reread --no-tell-kernel $u; }
table() { dmsetup suspend a; dmsetup load a; dmsetup resume a; }
# From MiB $1 on, $2 of them are another target.
hide() {
    /sbin/modprobe -qa dm_zero dm_flakey || true
    head=$(($1 * 2048)) tail=$((($1 + $2) * 2048)) end=$((size * 2048)); shift 2
    { [ $head = 0 ] || echo "0 $head linear $disk 0"
        echo "$head $((tail - head)) $*"
        [ $tail = $end ] || echo "$tail $((end - tail)) linear $disk $tail"; } | table
}
echo "0 $((size * 2048)) linear $disk 0" | table
"#;

/// Of a volume that was never used.
const NEVER_USED: &[Case] = &[
    ("an MBR", "partitions dos", "", &["a partition table (dos)"]),
    ("a GPT", "partitions gpt", "", &["a partition table (gpt)"]),
    (
        "a GPT's backup at the tail alone",
        "partitions gpt; dd if=/dev/zero of=$u bs=1M count=1 2>&1",
        "",
        &["not zero"],
    ),
    ("LVM", "pvcreate -qq --config 'devices/use_devicesfile=0' $u", "", &["LVM2_member"]),
    (
        "LUKS",
        "printf x | cryptsetup luksFormat -q --pbkdf pbkdf2 --pbkdf-force-iterations 1000 $u -",
        "",
        &["it holds LUKS"],
    ),
    ("btrfs", "mkfs.btrfs -q --mixed $u", "", &["it holds btrfs"]),
    ("swap", "/sbin/mkswap $u", "", &["it holds swap"]),
    ("ext4 that nobody here has made", "mkfs.ext4 -q $u", "", &["it holds ext4", "never staged"]),
    (
        "an md superblock at the tail",
        r"printf '\374\116\053\251' | bytes $((last + 1 - 65536))",
        "",
        &["linux_raid_member"],
    ),
    ("an unknown signature at the head", "printf x | bytes 0", "", &["byte 0", "not zero"]),
    ("an unknown signature at the tail", "printf x | bytes $last", "", &["byte {last}", "not zero"]),
    ("random bytes behind a blank head", "fill 8 8", "", &["byte 838860", "not zero"]),
    ("a filesystem whose head reads as zeros", "mkfs.ext4 -q $u", "0 6 zero", &["not zero"]),
    ("a head that cannot be read", "", "0 1 error", &["could not be read whole"]),
    ("a middle that cannot be read", "", "$((size / 2)) 2 error", &["could not be read whole"]),
    ("a tail that cannot be read", "", "$((size - 1)) 1 error", &["could not be read whole"]),
    ("a disk that has gone bad", "", "0 $size flakey $disk 0 0 1000", &["could not be read whole"]),
];

/// Of a volume that was used, with ext4 on it.
const USED: &[Case] = &[
    ("a head that reads as zeros", "", "0 1 zero", &["it was staged", "damaged or the wrong device"]),
    ("a unit that reads as zeros", "", "0 $size zero", &["it was staged", "damaged or the wrong device"]),
    ("a head that cannot be read", "", "0 1 error", &["could not be read whole"]),
    ("a blank unit", "true", "", &["it was staged", "damaged or the wrong device"]),
    ("random bytes", "fill 0 $size", "", &["not zero", "damaged or the wrong device"]),
    ("another filesystem", "mkfs.btrfs -q --mixed $u", "", &["it holds btrfs", "ext4 is wanted"]),
    ("swap", "/sbin/mkswap $u", "", &["it holds swap"]),
    ("partitions", "partitions gpt", "", &["a partition table (gpt)"]),
    (
        "a filesystem whose end is not there",
        "/sbin/losetup -d $u; truncate -s $((size + 8))M /run/blank; mkfs.ext4 -q /run/blank
        truncate -s ${size}M /run/blank; u=$(/sbin/losetup -f --show /run/blank)",
        "",
        &["its end is cut off"],
    ),
];

/// Of all that the storage keeps its units on, as the files of this machine that its disks are.
fn hash(storage: &Guest) -> String {
    let said = Command::new("sha256sum").args(&storage.disk_images()[1..]).output().unwrap();
    assert!(said.status.success(), "{said:?}");
    String::from_utf8(said.stdout).unwrap()
}

/// Makes what a case says of unit a, which else is what was kept.
fn make(storage: &Guest, (what, content, hidden, _): &Case) {
    let content = if content.is_empty() {
        "copy /run/kept".to_owned()
    } else {
        format!("blank; {content}\nsync $u; /sbin/losetup -d $u; copy /run/blank; rm /run/blank")
    };
    let hidden = if hidden.is_empty() { String::new() } else { format!("hide {hidden}") };
    storage.exec_within(LIMIT, &format!("size={SIZE}; {WORDS}{content}\n{hidden}")).ok(what);
}

fn attach(route: IscsiRoute, staged_before: bool) -> Deed {
    Deed::Attach(Box::new(Attach { staged_before, ..wanted("a", route) }))
}

/// Sees that each case is refused, with nothing written and nothing left; then unit a is what it was.
fn refuse(storage: &Guest, node: &Guest, cases: &[Case], staged_before: bool) {
    storage
        .exec("/bin/dd if=/dev/mapper/a of=/run/kept bs=1M iflag=direct conv=sparse 2>&1")
        .ok("what it was");
    for case in cases {
        let (what, .., evidence) = case;
        make(storage, case);
        let before = hash(storage);
        let answer = obey(node, attach(unit(storage, OPEN, &[0], 0, "rig-unit-a"), staged_before));
        let after = hash(storage);
        let (kind, text) = failed(answer);
        println!("{what}: {kind}: {text}");
        assert_eq!(kind, "Refused", "{what}: {text}");
        let last = ((SIZE << 20) - 1).to_string();
        let is_told = |part: &&str| text.contains(&part.replace("{last}", &last));
        assert!(evidence.iter().all(is_told), "{what}: {evidence:?} in {text}");
        assert!(text.contains("/dev/sd"), "{what}: {text}");
        assert_eq!(before, after, "{what}");
        nothing_is_left(node);
    }
    make(storage, &("what it was", "", "", &[]));
    storage.exec("rm /run/kept").ok("removed");
}

#[test]
fn what_a_unit_holds_or_hides_keeps_it_from_being_formatted() {
    on_rig(|rig| {
        let (storage, node) = serve(rig);
        refuse(storage, node, NEVER_USED, false);
        // What the hash sees: the blank one is formatted.
        let before = hash(storage);
        done(obey(node, attach(unit(storage, OPEN, &[0], 0, "rig-unit-a"), false)));
        mount(node, "a", "app");
        unmount(node, "a", "app");
        done(detach(node, "a"));
        assert_ne!(hash(storage), before);
        nothing_is_left(node);
    });
}

#[test]
fn a_used_unit_that_comes_back_as_something_else_is_refused_and_its_files_are_there_when_it_is_itself() {
    on_rig(|rig| {
        let (storage, node) = serve(rig);
        let route = || unit(storage, OPEN, &[0], 0, "rig-unit-a");
        done(obey(node, attach(route(), false)));
        let point = mount(node, "a", "app");
        node.exec(&format!("echo kept >{point}/f && sync {point}/f")).ok("write");
        unmount(node, "a", "app");
        done(detach(node, "a"));
        refuse(storage, node, USED, true);
        done(obey(node, attach(route(), true)));
        let point = mount(node, "a", "app");
        assert_eq!(node.exec(&format!("cat {point}/f")).ok("read"), "kept");
        unmount(node, "a", "app");
        done(detach(node, "a"));
        nothing_is_left(node);
    });
}

#[test]
fn a_unit_smaller_or_larger_than_recorded_is_refused() {
    on_rig(|rig| {
        let (storage, node) = serve(rig);
        let before = hash(storage);
        let (smaller, larger) = (SIZE - 1, SIZE + 8);
        for (staged_before, recorded, size) in
            [(false, SIZE, smaller), (false, SIZE, larger), (true, larger, SIZE), (true, smaller, SIZE)]
        {
            set_size(storage, size);
            let mut wanted = wanted("a", unit(storage, OPEN, &[0], 0, "rig-unit-a"));
            (wanted.size, wanted.staged_before) = (Bytes::mib(recorded), staged_before);
            let (kind, text) = failed(obey(node, Deed::Attach(Box::new(wanted))));
            let told = [Bytes::mib(recorded), Bytes::mib(size)].map(|size| size.to_string());
            assert!(kind == "Size" && told.iter().all(|size| text.contains(size)), "{kind}: {text}");
            nothing_is_left(node);
        }
        set_size(storage, SIZE);
        assert_eq!(hash(storage), before);
    });
}

/// Gives LUN 0 of a portal group another unit, as an array does that maps anew.
fn map(storage: &Guest, group: u8, from: &str, to: &str) {
    let script = format!(
        "cd /sys/kernel/config/target/iscsi/{OPEN}/tpgt_{group}/lun/lun_0; rm {from}
        ln -s /sys/kernel/config/target/core/iblock_0/{to} {to}"
    );
    storage.exec(&script).ok("mapped anew");
}

#[test]
fn a_stale_device_that_has_another_volumes_number_by_now_is_refused_by_its_serial_number() {
    on_rig(|rig| {
        let (storage, node) = serve(rig);
        make(storage, &("data", "mkfs.ext4 -q $u", "", &[]));
        let before = hash(storage);
        let portal = format!("{}:3260", storage.address(0));
        let by_hand = format!(
            "iscsiadm -m node -T {OPEN} -p {portal} --op=new >/dev/null
            iscsiadm -m node -T {OPEN} -p {portal} --login >/dev/null; ls /sys/block | grep sd"
        );
        node.exec_within(LIMIT, &by_hand).ok("a session by hand, with both units");
        map(storage, 1, "a", "b");
        let known =
            "tr -dc 'a-z-' </sys/block/sda/device/vpd_pg80; tr -dc 'a-z-' </sys/block/sdb/device/vpd_pg80";
        let said = node.exec(known).ok("what the kernel has kept");
        let answer = obey(node, attach(unit(storage, OPEN, &[0], 0, "rig-unit-a"), true));
        let after = hash(storage);
        map(storage, 1, "b", "a");
        let out = format!("iscsiadm -m node -T {OPEN} -u; iscsiadm -m node -T {OPEN} --op=delete; true");
        node.exec_within(LIMIT, &out).ok("the session by hand ends");
        assert!(said.contains("rig-unit-a") && said.contains("rig-unit-b"), "{said}");
        let (kind, text) = failed(answer);
        assert!(
            kind == "Refused" && text.contains("rig-unit-b") && text.contains("rig-unit-a"),
            "{kind}: {text}"
        );
        assert_eq!(before, after);
        nothing_is_left(node);
    });
}
