//! What people do to the objects with kubectl.

use anyhow::{Result, ensure};
use kube_suite::needs_the_machine;
use store::suite::put;
use store::{Key, Store as _};

use crate::site::Site;

#[tokio::test(flavor = "multi_thread")]
async fn what_people_edit_is_kept_reported_and_never_acted_on() -> Result<()> {
    needs_the_machine!();
    let place = tokio::task::block_in_place(|| Site::shared()?.place())?;
    let store = place.store().await?;
    let fence = store.acquire("a").await?.fence;
    let key = Key::new("volume", "v");
    let record = br#"{"size":5,"name":"v"}"#;
    store.commit(fence, vec![put(&key, None, record)]).await?;
    ensure!(place.kubectl(&["get", "volumes.leister.io"])?.contains("SIZE"));
    ensure!(place.get("volumes.leister.io/v")?["spec"]["size"] == 5);

    let patch = |text: &str| place.kubectl(&["patch", "volumes.leister.io/v", "--type=merge", "-p", text]);
    patch(r#"{"spec":{"size":"nonsense"},"metadata":{"labels":{"team":"blue"}}}"#)?;
    let found = store.find(&key).await?.expect("it is there");
    ensure!(found.value.as_ref() == record, "{found:?}");
    ensure!(place.get("volumes.leister.io/v")?["spec"]["size"] == "nonsense");
    for (text, says) in [
        (r#"{"record":{"text":"{}"}}"#, "changed by Leister alone"),
        (r#"{"id":"w"}"#, "never changes"),
        (r#"{"written":null}"#, "written"),
    ] {
        let refused = format!("{:#}", patch(text).expect_err(text));
        ensure!(refused.contains(says), "{refused}");
    }
    // The next change undoes it, and leaves people's labels.
    store.commit(fence, vec![put(&key, Some(found.revision), br#"{"size":6,"name":"v"}"#)]).await?;
    let object = place.get("volumes.leister.io/v")?;
    ensure!(object["spec"]["size"] == 6 && object["metadata"]["labels"]["team"] == "blue", "{object}");
    let whole = place.kubectl(&["get", "volumes.leister.io/v", "--show-managed-fields", "--output=yaml"])?;
    ensure!(whole.contains("manager: leister"), "{whole}");

    // What people make is none of ours.
    let hand = |name: &str, more: &str| {
        place.site.apply(&format!(
            "apiVersion: leister.io/v1\nkind: Volume\nmetadata: {{name: {name}, namespace: {}}}\n{more}\n",
            place.namespace
        ))
    };
    ensure!(hand("w", "spec: {size: 1}").is_err());
    let before = store.list("volume").await?.len();
    place.kubectl(&["delete", "volumes.leister.io/v"])?;
    ensure!(store.find(&key).await?.is_none() && before == 1);
    store.commit(fence, vec![put(&key, None, record)]).await?;
    Ok(())
}
