use std::fs;
use std::os::unix::fs::FileExt;

use super::*;
use crate::device::image::Image;
use crate::stage::format::{FormatRecord, Phase};

const SIZE: Bytes = Bytes::mib(320);

fn write(path: &Path, at: u64, bytes: &[u8]) {
    fs::File::options().write(true).open(path).unwrap().write_all_at(bytes, at).unwrap();
}

type Fill = (&'static str, fn(&Path));

/// Things a device may hold that is not blank.
const FILLS: [Fill; 24] = [
    ("an MBR partition table", |p| {
        write(p, 446, &[0, 0, 2, 0, 0x83, 0, 0, 0, 0, 8, 0, 0, 0, 0, 1, 0]);
        write(p, 510, &[0x55, 0xAA]);
    }),
    ("only an MBR signature", |p| write(p, 510, &[0x55, 0xAA])),
    ("a backup GPT header in the last sector", |p| write(p, SIZE.get() - 512, b"EFI PART")),
    ("an LVM label", |p| {
        write(p, 512, b"LABELONE\x01\0\0\0\0\0\0\0");
        write(p, 536, b"LVM2 001");
    }),
    ("a LUKS1 header", |p| write(p, 0, b"LUKS\xba\xbe\0\x01")),
    ("a LUKS2 header's second copy", |p| write(p, 0x4000, b"SKUL\xba\xbe\0\x02")),
    ("an md superblock near the end", |p| write(p, SIZE.get() - 65536, &[0xfc, 0x4e, 0x2b, 0xa9])),
    ("swap", |p| run("mkswap", &[p.to_str().unwrap()])),
    ("ext4", |p| run("mkfs.ext4", &["-q", p.to_str().unwrap()])),
    ("xfs", |p| run("mkfs.xfs", &["-q", p.to_str().unwrap()])),
    ("btrfs", |p| run("mkfs.btrfs", &["-q", p.to_str().unwrap()])),
    ("an ext4 whose head was erased", |p| {
        run("mkfs.ext4", &["-q", p.to_str().unwrap()]);
        write(p, 0, &vec![0; 6 << 20]);
    }),
    ("an unknown byte at the head", |p| write(p, 0, b"x")),
    ("an unknown byte at the tail", |p| write(p, SIZE.get() - 1, b"x")),
    ("a zeroed head and data at the tail", |p| {
        write(p, 0, &vec![0; 8 << 20]);
        write(p, SIZE.get() - (1 << 20), &vec![7; 1 << 20]);
    }),
    ("one byte in the middle", |p| write(p, SIZE.get() / 2 + 12_345, b"x")),
    ("a GPT", |p| partition(p, "label: gpt\nsize=8MiB\n")),
    ("a GPT whose head was erased", |p| {
        partition(p, "label: gpt\nsize=8MiB\n");
        write(p, 0, &vec![0; 1 << 20]);
    }),
    ("an MBR with a partition", |p| partition(p, "label: dos\nsize=8MiB\n")),
    ("LUKS2", |p| luks(p)),
    ("LUKS2 whose first header was erased", |p| {
        luks(p);
        write(p, 0, &[0; 0x4000]);
    }),
    ("an LVM label in the fourth sector", |p| {
        write(p, 3 * 512, b"LABELONE\x03\0\0\0\0\0\0\0");
        write(p, 3 * 512 + 24, b"LVM2 001");
    }),
    ("a ZFS label at the tail alone", |p| {
        for n in 0..8 {
            write(p, SIZE.get() - (512 << 10) + (128 << 10) + n * 1024, &0x00ba_b10c_u64.to_le_bytes());
        }
    }),
    ("an md superblock 1.2", |p| write(p, 4096, &[0xfc, 0x4e, 0x2b, 0xa9, 1, 0, 0, 0])),
];

fn partition(path: &Path, table: &str) {
    run("sh", &["-c", &format!("printf '{table}' | sfdisk -q {}", path.display())]);
}

fn luks(path: &Path) {
    let format =
        "cryptsetup luksFormat -q --type luks2 --pbkdf pbkdf2 --pbkdf-force-iterations 1000 --key-file=-";
    run("sh", &["-c", &format!("printf secret | {format} {}", path.display())]);
}

#[tokio::test]
async fn whatever_is_not_blank_is_refused_and_left_to_the_last_byte() {
    let rig = Rig::new().await;
    for (what, fill) in FILLS {
        let (v, route) = (volume("v"), rig.image("image", SIZE));
        let path = rig.path("image");
        fill(&path);
        let before = hash(&path);
        for filesystem in Filesystem::ALL {
            let error = rig.host.attach(&v, &route, &wanted(*filesystem, SIZE)).await.unwrap_err();
            assert!(matches!(error, HostError::Refused { .. }), "{what}, {filesystem} wanted: {error}");
            rig.assert_clean();
        }
        assert_eq!(hash(&path), before, "{what}");
    }
}

#[tokio::test]
async fn a_volume_that_was_staged_and_is_blank_now_is_damaged_and_not_formatted() {
    let rig = Rig::new().await;
    let (v, route) = (volume("v"), rig.image("image", SIZE));
    let before = hash(&rig.path("image"));
    let error =
        rig.host.attach(&v, &route, &staged_before(&wanted(Filesystem::Ext4, SIZE))).await.unwrap_err();
    assert!(error.to_string().contains("damaged or the wrong device"), "{error}");
    assert_eq!(hash(&rig.path("image")), before);
    rig.assert_clean();
}

#[tokio::test]
async fn another_filesystem_than_wanted_is_refused_also_for_clones_and_imports() {
    let rig = Rig::new().await;
    let (v, route) = (volume("v"), rig.image("image", SIZE));
    run("mkfs.ext4", &["-q", rig.path("image").to_str().unwrap()]);
    let before = hash(&rig.path("image"));
    let wanted = wanted(Filesystem::Xfs, SIZE);
    for wanted in [staged_before(&wanted), Attachment { may_hold_data: true, ..wanted }] {
        let error = rig.host.attach(&v, &route, &wanted).await.unwrap_err();
        assert!(error.to_string().contains("it holds ext4 and xfs is wanted"), "{error}");
    }
    assert_eq!(hash(&rig.path("image")), before);
    rig.assert_clean();
}

#[tokio::test]
async fn what_a_format_of_ours_left_half_made_is_made_again() {
    let rig = Rig::new().await;
    for filesystem in Filesystem::ALL {
        for (what, fill) in [FILLS[10], FILLS[8], FILLS[9], FILLS[15]] {
            let (v, route) = (volume("v"), rig.image("image", SIZE));
            let path = rig.path("image");
            fill(&path);
            let image = Image::open(&v, &path, false).unwrap();
            let directory = rig.path("mounts/v");
            fs::create_dir_all(&directory).unwrap();
            FormatRecord::new(
                crate::device::block::Subject::Image(image.identity),
                *filesystem,
                Phase::Begun,
            )
            .write(&directory)
            .unwrap();
            let before = hash(&path);
            let attached = rig.host.attach(&v, &route, &wanted(*filesystem, SIZE)).await;
            // Only what such a format can have left: nothing blkid knows, or the very filesystem.
            let remains = what == filesystem.as_str() || what == FILLS[15].0;
            if remains {
                assert!(
                    matches!(attached, Ok(Attached::Directory { formatted: true, .. })),
                    "{what}: {attached:?}"
                );
            } else {
                assert!(matches!(attached, Err(HostError::Refused { .. })), "{what}: {attached:?}");
                assert_eq!(hash(&path), before, "{what}");
            }
            rig.host.forget(&v).await.unwrap();
            rig.assert_clean();
        }
    }
}

#[tokio::test]
async fn the_record_of_a_format_speaks_for_no_later_image_of_that_name() {
    let rig = Rig::new().await;
    let (v, route) = (volume("v"), rig.image("image", SIZE));
    rig.host.attach(&v, &route, &wanted(Filesystem::Ext4, SIZE)).await.unwrap();
    rig.host.detach(&v).await.unwrap();
    assert!(rig.path("mounts/v/.format").exists());
    fs::remove_file(rig.path("image")).unwrap();
    rig.image("image", SIZE);
    run("mkfs.ext4", &["-q", rig.path("image").to_str().unwrap()]);
    let error = rig.host.attach(&v, &route, &wanted(Filesystem::Ext4, SIZE)).await.unwrap_err();
    assert!(error.to_string().contains("never staged"), "{error}");
    rig.host.forget(&v).await.unwrap();
    rig.assert_clean();
}
