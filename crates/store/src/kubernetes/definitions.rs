//! What a cluster has to know of the store: a resource for each kind of record, and the policy that refuses late writes.

use std::fmt::Write as _;

use super::{COMMITS, GROUP, LETTERS, SETTINGS, WRITER};
use crate::Kind;

/// How a kind of records is known to the cluster. The store itself knows no kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Definition {
    pub kind: Kind,
    /// As in `kind: Volume`.
    pub name: &'static str,
    pub plural: &'static str,
    /// One sentence for `kubectl explain`.
    pub about: &'static str,
    /// What `kubectl get` shows.
    pub columns: &'static [Column],
    /// Its records may hold what not everybody shall read: they are in Secrets, and `spec` does not show them.
    pub is_private: bool,
}

/// A member of the record, where it is a JSON object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Column {
    pub title: &'static str,
    /// As in `.spec.size`.
    pub path: &'static str,
    /// `string`, `integer`, `boolean` or `date`.
    pub form: &'static str,
    /// Shown with `-o wide` alone.
    pub is_wide: bool,
}

/// What refuses the writes of those who lead no more.
pub(super) const POLICY: &str = "leister-writes";
/// More than an apiserver takes.
const LONGEST: usize = 4_000_000;

/// Definitions and policy as YAML, for `kubectl apply`.
pub fn definitions(kinds: &[Definition]) -> String {
    let mut text = String::from(
        "# What a cluster has to know for `leister run --store kubernetes`. Printed by `leister crds`.\n",
    );
    for kind in kinds {
        let mut columns = String::new();
        for Column { title, path, form, is_wide } in kind.columns {
            let priority = u8::from(*is_wide);
            let _ = write!(
                columns,
                "\n        - {{name: {title}, jsonPath: {path}, type: {form}, priority: {priority}}}"
            );
        }
        text += &resource(kind.name, kind.plural, kind.about, &columns, RECORD);
    }
    for (name, plural, about, schema) in [
        ("Commit", COMMITS, "Several changes of records that happen together, while they happen.", COMMIT),
        ("Letter", LETTERS, "What one instance asks of the one that leads, and the answer.", LETTER),
        ("Setting", SETTINGS, "What was decided once for all instances.", RECORD),
    ] {
        text += &resource(name, plural, about, "", schema);
    }
    let records: Vec<&str> = kinds.iter().map(|kind| kind.plural).chain([COMMITS]).collect();
    text += &POLICIES
        .replace("GROUP", GROUP)
        .replace("POLICY", POLICY)
        .replace("WRITER", WRITER)
        .replace("LETTERS", LETTERS)
        .replace("RECORDS", &records.join(", "));
    text
}

fn resource(name: &str, plural: &str, about: &str, columns: &str, schema: &str) -> String {
    let singular = name.to_lowercase();
    let schema = schema.replace("LONGEST", &LONGEST.to_string());
    format!(
        "---
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata:
  name: {plural}.{GROUP}
spec:
  group: {GROUP}
  scope: Namespaced
  names: {{kind: {name}, plural: {plural}, singular: {singular}, listKind: {name}List}}
  versions:
    - name: v1
      served: true
      storage: true
      additionalPrinterColumns:{columns}
        - {{name: Age, jsonPath: .metadata.creationTimestamp, type: date}}
      schema:
        openAPIV3Schema:
          description: {about}
          type: object
{schema}"
    )
}

const RECORD: &str = r#"          required: [record, written]
          x-kubernetes-validations:
            - rule: has(self.id) == has(oldSelf.id) && (!has(self.id) || self.id == oldSelf.id)
              message: the id of a record never changes
            - rule: self.record == oldSelf.record || self.written.token != oldSelf.written.token
              message: records are changed by Leister alone; ask it, as in `leister modify`
          properties:
            id:
              description: That of the record, where the object cannot be called so.
              type: string
              maxLength: 4096
            spec:
              description: The record as people read it. Leister does not; what is edited here is lost.
              type: object
              x-kubernetes-preserve-unknown-fields: true
            record:
              description: The record as Leister reads it.
              type: object
              properties:
                text: {type: string, maxLength: LONGEST}
                base64: {type: string, maxLength: LONGEST}
                secret:
                  description: The Secret that has it.
                  type: string
                  maxLength: 253
            written:
              description: By whom; a writer that leads no more is refused.
              type: object
              required: [fence, token]
              properties:
                fence: {type: integer, format: int64}
                token: {type: string, maxLength: 128}
            gone:
              description: Deleted, and not yet removed.
              type: boolean
"#;

const COMMIT: &str = r#"          required: [writes, written]
          x-kubernetes-validations:
            - rule: self == oldSelf
              message: what was decided never changes
          properties:
            writes:
              type: string
              maxLength: LONGEST
            written:
              type: object
              required: [fence, token]
              properties:
                fence: {type: integer, format: int64}
                token: {type: string, maxLength: 128}
"#;

const LETTER: &str = r#"          required: [id, letter]
          properties:
            id: {type: string}
            letter:
              type: object
              properties:
                text: {type: string}
                base64: {type: string}
            opened: {type: boolean}
            answered: {type: boolean}
            answer:
              type: object
              properties:
                text: {type: string}
                base64: {type: string}
            written:
              type: object
              properties:
                fence: {type: integer, format: int64}
                token: {type: string}
"#;

const POLICIES: &str = r#"---
# A write carries the fencing number of its writer. It is refused when the Lease has had another holder since.
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata:
  name: POLICY
spec:
  failurePolicy: Fail
  paramKind: {apiVersion: coordination.k8s.io/v1, kind: Lease}
  matchConstraints:
    resourceRules:
      - apiGroups: [GROUP]
        apiVersions: [v1]
        operations: [CREATE, UPDATE]
        resources: [RECORDS]
        scope: Namespaced
      # Anybody may write one; who leads marks and answers it.
      - apiGroups: [GROUP]
        apiVersions: [v1]
        operations: [UPDATE]
        resources: [LETTERS]
        scope: Namespaced
  matchConditions:
    - name: written-by-leister
      expression: has(request.options.fieldManager) && request.options.fieldManager == 'leister'
  validations:
    - expression: has(object.written) && has(object.written.fence) && object.written.fence >= params.spec.leaseTransitions
      messageExpression: "'the writer leads no more: the fencing number is ' + string(params.spec.leaseTransitions) + ' now'"
      reason: Forbidden
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata:
  name: POLICY
spec:
  policyName: POLICY
  # That of the namespace in which the object is.
  paramRef: {name: WRITER, parameterNotFoundAction: Deny}
  validationActions: [Deny]
"#;
