//! Names and labels made of what a volume is for.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{ClassName, Labels, Pool, VolumeId};

/// A text with fields in double braces, such as `{{.volume.Namespace}}_{{.volume.RequestName}}`.
///
/// # Source
/// The templates of Trident's `nameTemplate` and `labels`, without pipelines, conditions and functions but `slice`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Template {
    text: String,
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Field(Field),
    /// Characters `from..to` of it.
    Slice(Field, usize, usize),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Field {
    Name,
    RequestName,
    Namespace,
    StorageClass,
    BackendName,
    StoragePrefix,
    Label(String),
}

const FIELDS: [(&str, Field); 6] = [
    (".volume.Name", Field::Name),
    (".volume.RequestName", Field::RequestName),
    (".volume.Namespace", Field::Namespace),
    (".volume.StorageClass", Field::StorageClass),
    (".config.BackendName", Field::BackendName),
    (".config.StoragePrefix", Field::StoragePrefix),
];

/// Labels by which a volume shows whose claim it was made for.
pub const CLAIM: &str = "pvc";
pub const NAMESPACE: &str = "namespace";

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("template `{text}`: {problem}")]
pub struct TemplateError {
    text: String,
    problem: String,
}

/// What a template can speak of.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    pub volume: &'a VolumeId,
    /// The volume's own.
    pub labels: &'a Labels,
    pub class: Option<&'a ClassName>,
    pub pool: &'a Pool,
}

impl Template {
    /// # Errors
    /// Braces that are not closed, and what is between them when it is no field and no `slice` of one.
    pub fn parse(text: &str) -> Result<Template, TemplateError> {
        let wrong = |problem| TemplateError { text: text.to_owned(), problem };
        let (mut parts, mut rest) = (Vec::new(), text);
        while let Some((before, braced)) = rest.split_once("{{") {
            let (inner, after) =
                braced.split_once("}}").ok_or_else(|| wrong("`{{` is not closed by `}}`".to_owned()))?;
            parts.extend((!before.is_empty()).then(|| Part::Text(before.to_owned())));
            parts.push(part(inner).map_err(wrong)?);
            rest = after;
        }
        parts.extend((!rest.is_empty()).then(|| Part::Text(rest.to_owned())));
        Ok(Template { text: text.to_owned(), parts })
    }

    /// # Behavior
    /// What is not known, such as a label that the pool has not, is empty. The prefix is: it stands before every name.
    pub fn render(&self, subject: &Subject<'_>) -> String {
        let part = |part: &Part| match part {
            Part::Text(text) => text.clone(),
            Part::Field(field) => field.of(subject).to_owned(),
            Part::Slice(field, from, to) => field.of(subject).chars().take(*to).skip(*from).collect(),
        };
        self.parts.iter().map(part).collect()
    }

    /// The name for the volume of a claim; `None` for any other volume, whose name its user has chosen.
    ///
    /// # Behavior
    /// All but letters and digits becomes `_`, of which no two follow each other. A template without the volume's name
    /// gets five characters of its number, so that a claim which is made anew does not ask for the name of the one before.
    pub fn name(&self, subject: &Subject<'_>) -> Option<VolumeId> {
        subject.labels.get(CLAIM)?;
        let mut text = self.render(subject);
        let named = |part: &Part| matches!(part, Part::Field(Field::Name) | Part::Slice(Field::Name, ..));
        if !self.parts.iter().any(named) {
            let name = subject.volume.as_str();
            let short = name.strip_prefix("pvc-").and_then(|id| id.get(..5));
            text = format!("{text}_{}", short.unwrap_or(name));
        }
        let words = text.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
        VolumeId::new(words.collect::<Vec<_>>().join("_")).ok()
    }
}

fn part(inner: &str) -> Result<Part, String> {
    let words: Vec<&str> = inner.split_whitespace().collect();
    match words[..] {
        ["slice", name, from, to] => match (from.parse(), to.parse()) {
            (Ok(from), Ok(to)) if from < to => Ok(Part::Slice(field(name)?, from, to)),
            _ => Err(format!("`{from} {to}` are no bounds; write as in `slice .volume.Name 4 9`")),
        },
        [name] => Ok(Part::Field(field(name)?)),
        _ => Err(format!("`{}` is neither a field nor `slice FIELD FROM TO`", inner.trim())),
    }
}

fn field(name: &str) -> Result<Field, String> {
    if let Some(label) = name.strip_prefix(".labels.").filter(|label| !label.is_empty()) {
        return Ok(Field::Label(label.to_owned()));
    }
    let known = FIELDS.iter().find(|(known, _)| *known == name);
    known.map(|(_, field)| field.clone()).ok_or_else(|| {
        let known: Vec<&str> = FIELDS.iter().map(|(name, _)| *name).collect();
        format!("`{name}` is no field; write one of {}, .labels.KEY", known.join(", "))
    })
}

impl Field {
    fn of<'a>(&self, subject: &Subject<'a>) -> &'a str {
        let label = |labels: &'a Labels, key: &str| labels.get(key).map_or("", String::as_str);
        match self {
            Field::Name => subject.volume.as_str(),
            Field::RequestName => subject.labels.get(CLAIM).map_or(subject.volume.as_str(), String::as_str),
            Field::Namespace => label(subject.labels, NAMESPACE),
            Field::StorageClass => subject.class.map_or("", ClassName::as_str),
            Field::BackendName => subject.pool.backend.as_str(),
            Field::StoragePrefix => "",
            Field::Label(key) => label(&subject.pool.labels, key),
        }
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl TryFrom<String> for Template {
    type Error = TemplateError;
    fn try_from(text: String) -> Result<Template, TemplateError> {
        Template::parse(&text)
    }
}

impl From<Template> for String {
    fn from(template: Template) -> String {
        template.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool() -> Pool {
        serde_json::from_str(
            r#"{"backend": "gold", "name": "a", "offers": {}, "labels": {"cluster": "Prod-1"}, "topologies": [],
                "layouts": [], "shared": [], "accepts": [], "capacity": {"total": 0, "used": 0, "provisioned": 0,
                "freeThin": 0, "freeThick": 0}, "granularity": 1, "smallest": 1, "largest": null, "defaultSize": 1,
                "defaultProvisioning": "thin", "defaultFilesystem": null, "defaultOptions": {}}"#,
        )
        .unwrap()
    }

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    const CLAIMED: &str = "pvc-9e6cbaaa-0d04-4f3c-b0e0-8a1b9b0a3c11";

    #[test]
    fn the_volume_of_a_claim_is_named_by_its_template() {
        let (volume, pool) = (VolumeId::new(CLAIMED).unwrap(), pool());
        let own = labels(&[(CLAIM, "db-data"), (NAMESPACE, "shop")]);
        let class = ClassName::new("fast").unwrap();
        let subject = Subject { volume: &volume, labels: &own, class: Some(&class), pool: &pool };
        for (template, name) in [
            (
                "{{.config.StoragePrefix}}_{{.labels.cluster}}_{{ .volume.Namespace }}.{{.volume.RequestName}}",
                "Prod_1_shop_db_data_9e6cb",
            ),
            ("{{.volume.Namespace}}_{{slice .volume.Name 4 12}}", "shop_9e6cbaaa"),
            ("{{.config.BackendName}}-{{.volume.StorageClass}}-{{.labels.none}}", "gold_fast_9e6cb"),
            ("{{.volume.Name}}", "pvc_9e6cbaaa_0d04_4f3c_b0e0_8a1b9b0a3c11"),
            ("{{slice .volume.Name 30 99}}x", "1b9b0a3c11x"),
            ("fixed", "fixed_9e6cb"),
        ] {
            let named = Template::parse(template).unwrap().name(&subject);
            assert_eq!(named.unwrap().as_str(), name, "{template}");
        }
    }

    #[test]
    fn a_volume_of_nobodys_claim_keeps_the_name_that_its_user_gave() {
        let (volume, pool, own) = (VolumeId::new("web").unwrap(), pool(), labels(&[("tier", "gold")]));
        let subject = Subject { volume: &volume, labels: &own, class: None, pool: &pool };
        let template = Template::parse("{{.volume.Namespace}}/{{.volume.RequestName}}").unwrap();
        assert_eq!(template.name(&subject), None);
        assert_eq!(template.render(&subject), "/web");
    }

    #[test]
    fn a_name_that_cannot_be_one_is_none() {
        let (volume, pool) = (VolumeId::new(CLAIMED).unwrap(), pool());
        let long = "x".repeat(198);
        let own = labels(&[(CLAIM, &long)]);
        let subject = Subject { volume: &volume, labels: &own, class: None, pool: &pool };
        assert_eq!(Template::parse("{{.volume.RequestName}}").unwrap().name(&subject), None);
    }

    #[test]
    fn what_is_no_template_is_refused_with_what_is_wrong() {
        for (text, problem) in [
            ("{{.volume.Name", "is not closed"),
            ("{{.volume.name}}", "`.volume.name` is no field; write one of .volume.Name, "),
            ("{{}}", "neither a field nor"),
            ("{{.labels.}}", "no field"),
            ("{{slice .volume.Name 9 4}}", "`9 4` are no bounds"),
            ("{{slice .volume.Nam 4 9}}", "`.volume.Nam` is no field"),
            ("{{if .labels.a}}b{{end}}", "`if .labels.a` is neither"),
        ] {
            let error = Template::parse(text).unwrap_err().to_string();
            assert!(error.contains(problem) && error.contains(text), "{error}");
        }
    }

    #[test]
    fn a_template_is_stored_as_its_text() {
        let template = Template::parse("a{{.volume.Name}}b").unwrap();
        let text = serde_json::to_string(&template).unwrap();
        assert_eq!(text, "\"a{{.volume.Name}}b\"");
        assert_eq!(serde_json::from_str::<Template>(&text).unwrap(), template);
        assert!(serde_json::from_str::<Template>("\"{{\"").is_err());
    }
}
