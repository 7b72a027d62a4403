use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use driver::config::{ConfigError, Credentials, Section};
use model::{Chap, ChapAccount, Secret};

use super::{Kind, SanType};

/// Where the array is managed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Management {
    /// `host[:port]`, IPv6 in brackets.
    pub(crate) authority: String,
}

/// Who we are there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Account {
    Password {
        user: String,
        password: Secret,
    },
    /// A client certificate, PEM.
    Certificate {
        certificate: Vec<u8>,
        key: Secret,
    },
    /// In the secret of this name, which has yet to be read.
    Elsewhere {
        secret: String,
    },
}

impl Account {
    /// The keys to look at where the array does not know the account.
    pub(crate) const fn keys(&self) -> &'static str {
        match self {
            Account::Password { .. } => "`username` and `password`",
            Account::Certificate { .. } => "`clientCertificate` and `clientPrivateKey`",
            Account::Elsewhere { .. } => "`credentials`",
        }
    }
}

pub(super) fn management(keys: &mut Section) -> Result<Management, ConfigError> {
    let Some(text) = keys.text("managementLIF")? else {
        return Err(keys.error(
            "managementLIF",
            "missing; write the address of the cluster's or the SVM's management LIF",
        ));
    };
    let bare: Result<std::net::Ipv6Addr, _> = text.parse();
    let authority = if bare.is_ok() { format!("[{text}]") } else { text.clone() };
    let parsed = reqwest::Url::parse(&format!("https://{authority}/"));
    let plain = parsed.is_ok_and(|url| {
        url.path() == "/" && url.username().is_empty() && url.query().is_none() && url.host().is_some()
    });
    if text.contains('/') || !plain {
        let problem =
            format!("`{text}` is no address; write a host name or an address, with `:port` if need be");
        return Err(keys.error("managementLIF", problem));
    }
    Ok(Management { authority })
}

/// The account and the authority that the array's own certificate is to come from.
pub(super) fn read(
    keys: &mut Section,
    elsewhere: Option<&Credentials>,
) -> Result<(Account, Option<Vec<u8>>), ConfigError> {
    if let Some(credentials) = elsewhere.filter(|credentials| credentials.kind != "secret") {
        let problem = format!(
            "credentials of type `{}` are not supported; write `secret`, or username and password here",
            credentials.kind
        );
        return Err(keys.error("credentials.type", problem));
    }
    let trusted = pem(keys, "trustedCACertificate")?;
    let (user, password) = (keys.text("username")?, keys.text("password")?);
    let certificate = pem(keys, "clientCertificate")?;
    let key = pem(keys, "clientPrivateKey")?;
    if let Some(Credentials { name, .. }) = elsewhere {
        let here = [
            ("username", user.is_some()),
            ("password", password.is_some()),
            ("clientPrivateKey", key.is_some()),
        ];
        if let Some((key, _)) = here.into_iter().find(|(_, is_here)| *is_here) {
            return Err(keys.error(key, "`credentials` name a secret with it; keep one of them"));
        }
        return Ok((Account::Elsewhere { secret: name.clone() }, trusted));
    }
    let account = match (user, password, certificate, key) {
        (Some(user), Some(password), None, None) => {
            Account::Password { user, password: Secret::new(password) }
        }
        (None, None, Some(certificate), Some(key)) => {
            let key = String::from_utf8(key)
                .map_err(|_| keys.error("clientPrivateKey", "is no PEM text; write a key in base64 PEM"))?;
            Account::Certificate { certificate, key: Secret::new(key) }
        }
        (Some(_), None, None, None) => {
            return Err(keys.error("password", "missing; write it beside username"));
        }
        (None, Some(_), None, None) => {
            return Err(keys.error("username", "missing; write it beside password"));
        }
        (None, None, Some(_), None) => {
            return Err(keys.error("clientPrivateKey", "missing; write it beside clientCertificate"));
        }
        (None, None, None, Some(_)) => {
            return Err(keys.error("clientCertificate", "missing; write it beside clientPrivateKey"));
        }
        (None, None, None, None) => {
            return Err(
                keys.error("username", "missing; write username and password, or a client certificate")
            );
        }
        _ => {
            return Err(keys.error(
                "clientCertificate",
                "there are username and password too; keep one kind of account",
            ));
        }
    };
    Ok((account, trusted))
}

/// `elsewhere`: what is not in the file may be in a secret that has yet to be read.
pub(super) fn chap(
    keys: &mut Section,
    kind: Kind,
    san: SanType,
    elsewhere: bool,
) -> Result<Option<Chap>, ConfigError> {
    const FOUR: [&str; 4] =
        ["chapUsername", "chapInitiatorSecret", "chapTargetUsername", "chapTargetInitiatorSecret"];
    let wanted = keys.flag("useCHAP")?.unwrap_or(false);
    let mut values = Vec::new();
    for key in FOUR {
        values.push(keys.text(key)?);
    }
    if !wanted {
        return match FOUR.into_iter().zip(&values).find(|(_, value)| value.is_some()) {
            Some((key, _)) => Err(keys.error(key, "is there without `useCHAP: true`; write both or neither")),
            None => Ok(None),
        };
    }
    if kind.is_nas() || san == SanType::Nvme {
        return Err(keys.error("useCHAP", "only iSCSI knows CHAP; remove it"));
    }
    if let Some((key, _)) = FOUR.into_iter().zip(&values).find(|(_, value)| value.is_none()) {
        if elsewhere {
            return Ok(None);
        }
        return Err(keys.error(key, "missing; `useCHAP` needs both names and both secrets"));
    }
    let mut words = values.into_iter().flatten();
    let mut next = || words.next().unwrap_or_default();
    let (user, secret, target_user, target_secret) = (next(), next(), next(), next());
    for (key, secret) in [(FOUR[1], &secret), (FOUR[3], &target_secret)] {
        // RFC 7143 asks for 96 bits; open-iscsi and ONTAP take 12 to 16 characters everywhere.
        if !(12..=16).contains(&secret.len()) {
            return Err(keys.error(key, "has the wrong length; a secret has 12 to 16 characters"));
        }
    }
    if secret == target_secret {
        return Err(keys.error(FOUR[3], "is the same as the initiator's; the two secrets must differ"));
    }
    Ok(Some(Chap {
        initiator: ChapAccount { user, secret: Secret::new(secret) },
        target: Some(ChapAccount { user: target_user, secret: Secret::new(target_secret) }),
    }))
}

/// PEM, as it is or once more in base64, as Trident has it.
fn pem(keys: &mut Section, key: &str) -> Result<Option<Vec<u8>>, ConfigError> {
    let Some(text) = keys.text(key)? else { return Ok(None) };
    if text.trim_start().starts_with("-----BEGIN") {
        return Ok(Some(text.into_bytes()));
    }
    let packed: String = text.split_whitespace().collect();
    match STANDARD.decode(packed) {
        Ok(bytes) if bytes.trim_ascii_start().starts_with(b"-----BEGIN") => Ok(Some(bytes)),
        _ => Err(keys.error(key, "is not PEM; write the PEM text, or the same in base64")),
    }
}

impl fmt::Display for Management {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.authority)
    }
}
