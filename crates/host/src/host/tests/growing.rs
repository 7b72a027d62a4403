use std::fs;
use std::io::Write;

use super::*;

const SIZE: Bytes = Bytes::mib(320);
const LARGER: Bytes = Bytes::mib(768);

fn resize(path: &Path, size: Bytes) {
    fs::File::options().write(true).open(path).unwrap().set_len(size.get()).unwrap();
}

#[tokio::test]
async fn a_mounted_filesystem_grows_under_an_open_file() {
    let rig = Rig::new().await;
    for filesystem in Filesystem::ALL {
        let (v, route) = (volume(filesystem.as_str()), rig.image(filesystem.as_str(), SIZE));
        rig.host.attach(&v, &route, &wanted(*filesystem, SIZE)).await.unwrap();
        let a = rig.host.mount(&v, "a").await.unwrap();
        let mut file = fs::File::create(a.join("file")).unwrap();
        file.write_all(b"before").unwrap();
        let before = rig.host.usage(&v).await.unwrap();

        let error = rig.host.grow(&v, LARGER, None).await.unwrap_err();
        assert!(matches!(error, HostError::Size { .. }), "the backend has not grown it: {error}");
        resize(&rig.path(filesystem.as_str()), LARGER);
        if let Some(reason) = crate::filesystem::hindrance(*filesystem) {
            let error = rig.host.grow(&v, LARGER, None).await.unwrap_err().to_string();
            assert!(error.contains(reason), "{error}");
            println!("skipped the rest for {filesystem}: {reason}");
            continue;
        }
        for _ in 0..2 {
            rig.host.grow(&v, LARGER, None).await.unwrap();
        }
        let after = rig.host.usage(&v).await.unwrap();
        assert!(after.total > before.total + Bytes::mib(350), "{filesystem}: {before:?} {after:?}");
        file.write_all(b" and after").unwrap();
        assert_eq!(fs::read_to_string(a.join("file")).unwrap(), "before and after");
        assert!(rig.loops().iter().any(|l| l.size().unwrap() == LARGER));
        drop(file);
        rig.host.unmount(&v, "a").await.unwrap();
        rig.host.detach(&v).await.unwrap();
        rig.host.forget(&v).await.unwrap();
    }
}

#[tokio::test]
async fn a_volume_that_grew_while_nobody_used_it_fills_its_device_when_attached() {
    let rig = Rig::new().await;
    for filesystem in Filesystem::ALL {
        let (v, route) = (volume(filesystem.as_str()), rig.image(filesystem.as_str(), SIZE));
        rig.host.attach(&v, &route, &wanted(*filesystem, SIZE)).await.unwrap();
        let before = rig.host.usage(&v).await.unwrap();
        rig.host.detach(&v).await.unwrap();
        resize(&rig.path(filesystem.as_str()), LARGER);
        rig.host.attach(&v, &route, &staged_before(&wanted(*filesystem, LARGER))).await.unwrap();
        if let Some(reason) = crate::filesystem::hindrance(*filesystem) {
            println!("skipped the rest for {filesystem}: {reason}");
            continue;
        }
        let after = rig.host.usage(&v).await.unwrap();
        assert!(after.total > before.total + Bytes::mib(350), "{filesystem}: {before:?} {after:?}");
        // And one that grew while attached, where the call to grow was lost.
        let largest = LARGER + Bytes::mib(256);
        resize(&rig.path(filesystem.as_str()), largest);
        rig.host.attach(&v, &route, &staged_before(&wanted(*filesystem, largest))).await.unwrap();
        let last = rig.host.usage(&v).await.unwrap();
        assert!(last.total > after.total + Bytes::mib(200), "{filesystem}: {after:?} {last:?}");
    }
}

#[tokio::test]
async fn growing_a_directory_is_nothing_and_a_raw_device_only_its_size() {
    let rig = Rig::new().await;
    let (d, r) = (volume("directory"), volume("raw"));
    rig.host.attach(&d, &rig.directory("source"), &Attachment::default()).await.unwrap();
    rig.host.grow(&d, LARGER, None).await.unwrap();
    let raw = Attachment { size: SIZE, ..Attachment::default() };
    rig.host.attach(&r, &rig.image("image", SIZE), &raw).await.unwrap();
    resize(&rig.path("image"), LARGER);
    rig.host.grow(&r, LARGER, None).await.unwrap();
    assert_eq!(rig.loops()[0].size().unwrap(), LARGER);
}
