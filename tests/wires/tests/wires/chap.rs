//! Who may log in, and who proves to be what it says it is.

use model::{Chap, ChapAccount, IscsiRoute, Secret};
use rig::Guest;

use crate::hands::mount;
use crate::iscsi::{OPEN, bring, nothing_is_left, refused, serve, take_away, unit, wanted};
use crate::on_rig;

pub(crate) const CHAP: &str = "iqn.2026-01.test.rig:chap";
const MUTUAL: &str = "iqn.2026-01.test.rig:mutual";

fn account(user: &str, secret: &str) -> ChapAccount {
    ChapAccount { user: user.to_owned(), secret: Secret::new(secret) }
}

/// Unit b by the target that asks for CHAP.
pub(crate) fn guarded(storage: &Guest, links: &[u8], secret: &str) -> IscsiRoute {
    let chap = Some(Chap { initiator: account("user", secret), target: None });
    IscsiRoute { chap, ..unit(storage, CHAP, links, 0, "rig-unit-b") }
}

#[test]
fn each_side_of_chap_proves_itself_and_what_is_wrong_is_named() {
    on_rig(|rig| {
        let (storage, node) = serve(rig);
        let refuse = |route: IscsiRoute, kind: &str, named: &[&str]| {
            let (found, text) = refused(node, wanted("b", route));
            assert!(found == kind && named.iter().all(|name| text.contains(name)), "{found}: {text}");
            assert!(!text.contains("secret-of") && !text.contains("wrong-"), "{text}");
            nothing_is_left(node);
        };
        let target = &["chapTargetUsername", "chapTargetInitiatorSecret"];
        let initiator = &["chapUsername", "chapInitiatorSecret"];
        let mutual = |initiator: &str, user: &str, secret: &str| {
            let chap = Chap { initiator: account("user", initiator), target: Some(account(user, secret)) };
            IscsiRoute { chap: Some(chap), ..unit(storage, MUTUAL, &[0], 0, "rig-unit-b") }
        };
        refuse(guarded(storage, &[0], "wrong-secret"), "Denied", initiator);
        refuse(unit(storage, CHAP, &[0], 0, "rig-unit-b"), "Denied", &["CHAP", "useCHAP"]);
        refuse(mutual("wrong-secret", "storage", "secret-of-storage"), "Denied", initiator);
        refuse(mutual("secret-of-node", "storage", "wrong-secret"), "Denied", target);
        refuse(mutual("secret-of-node", "stranger", "secret-of-storage"), "Denied", target);
        let known = unit(storage, OPEN, &[0], 0, "rig-unit-b");
        let absent = IscsiRoute { target: "iqn.2026-01.test.rig:absent".to_owned(), ..known.clone() };
        refuse(absent, "Missing", &["iqn.2026-01.test.rig:absent", OPEN]);
        let closed = format!("{}:3261", storage.address(0));
        let closed = IscsiRoute { portals: vec![closed.clone()], ..known };
        refuse(closed, "Unreachable", &[&format!("{}:3261", storage.address(0)), "refused"]);
        for route in [
            guarded(storage, &[0], "secret-of-node"),
            mutual("secret-of-node", "storage", "secret-of-storage"),
        ] {
            bring(node, wanted("b", route));
            mount(node, "b", "app");
            take_away(node, "b");
            serve(rig);
        }
    });
}
