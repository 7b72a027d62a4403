//! ONTAP's error envelope, and the errors that more than one resource gives.

use serde_json::{Value, json};

pub(crate) type Result<T, E = Refusal> = std::result::Result<T, E>;

/// Why a call is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub status: u16,
    pub code: i64,
    pub message: String,
    pub target: Option<String>,
}

impl Refusal {
    pub(crate) fn new(status: u16, code: i64, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), target: None }
    }

    pub(crate) fn at(mut self, target: &str) -> Self {
        self.target = Some(target.to_owned());
        self
    }

    pub(crate) fn body(&self) -> Value {
        let mut error = json!({"message": self.message, "code": self.code.to_string()});
        if let Some(target) = &self.target {
            error["target"] = json!(target);
        }
        json!({"error": error})
    }
}

pub(crate) fn not_found(what: &str) -> Refusal {
    Refusal::new(404, 4, format!("entry doesn't exist: {what}"))
}

pub(crate) fn exists(what: &str) -> Refusal {
    Refusal::new(409, 1, format!("duplicate entry: {what}"))
}

pub(crate) fn missing(field: &str) -> Refusal {
    Refusal::new(400, 262_177, format!("Missing value for field \"{field}\".")).at(field)
}

pub(crate) fn unexpected(field: &str) -> Refusal {
    Refusal::new(400, 262_179, format!("Unexpected argument \"{field}\".")).at(field)
}

pub(crate) fn read_only(field: &str) -> Refusal {
    Refusal::new(400, 262_196, format!("Field \"{field}\" cannot be set in this operation.")).at(field)
}

pub(crate) fn twice(field: &str) -> Refusal {
    Refusal::new(400, 262_188, format!("Field \"{field}\" was specified twice.")).at(field)
}

pub(crate) fn invalid(field: &str, value: &str, why: &str) -> Refusal {
    let message = format!("The value \"{value}\" is invalid for field \"{field}\" ({why})");
    Refusal::new(400, 262_197, message).at(field)
}

pub(crate) fn denied() -> Refusal {
    Refusal::new(403, 6, "not authorized for that command")
}

pub(crate) fn method() -> Refusal {
    Refusal::new(405, 3, "The requested operation is not supported by this resource.")
}

pub(crate) fn url() -> Refusal {
    Refusal::new(404, 3, "API not found")
}
