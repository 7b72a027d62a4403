use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, de};
use utoipa::openapi::schema::{KnownFormat, OneOfBuilder, SchemaFormat, SchemaType, Type};
use utoipa::openapi::{ObjectBuilder, RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

/// A size as a person writes it: `"20GiB"`, `"500Mi"`, or a plain number of bytes.
///
/// # Behavior
/// Holds the text; the server reads it and explains what does not fit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Quantity(String);

impl Quantity {
    pub fn new(text: impl Into<String>) -> Quantity {
        Quantity(text.into())
    }

    pub fn bytes(bytes: u64) -> Quantity {
        Quantity(bytes.to_string())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl<'de> Deserialize<'de> for Quantity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl de::Visitor<'_> for Visitor {
            type Value = Quantity;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a size such as \"20GiB\" or a whole number of bytes")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Quantity, E> {
                Ok(Quantity::new(text))
            }

            fn visit_u64<E: de::Error>(self, bytes: u64) -> Result<Quantity, E> {
                Ok(Quantity::bytes(bytes))
            }
        }

        deserializer.deserialize_any(Visitor)
    }
}

impl PartialSchema for Quantity {
    fn schema() -> RefOr<Schema> {
        let text = ObjectBuilder::new()
            .schema_type(SchemaType::Type(Type::String))
            .examples(["20GiB"])
            .description(Some("a whole number and a unit: K M G T P (also Ki, KiB: 1024) or KB MB GB TB PB"));
        let bytes = ObjectBuilder::new()
            .schema_type(SchemaType::Type(Type::Integer))
            .format(Some(SchemaFormat::KnownFormat(KnownFormat::Int64)))
            .minimum(Some(1))
            .description(Some("bytes"));
        OneOfBuilder::new().item(text).item(bytes).into()
    }
}

impl ToSchema for Quantity {}
