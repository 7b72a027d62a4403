//! What a cluster has to know of the objects.

/// Kind, plural and group of what is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Backend,
    Trident,
}

impl Kind {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Kind::Backend => "Backend",
            Kind::Trident => "TridentBackendConfig",
        }
    }

    pub(crate) fn resource(self) -> kube::core::ApiResource {
        let (group, plural) = match self {
            Kind::Backend => ("leister.io", "backends"),
            Kind::Trident => ("trident.netapp.io", "tridentbackendconfigs"),
        };
        kube::core::ApiResource {
            group: group.to_owned(),
            version: "v1".to_owned(),
            api_version: format!("{group}/v1"),
            kind: self.name().to_owned(),
            plural: plural.to_owned(),
        }
    }
}

/// `kind: Backend`, for `kubectl apply`.
pub const DEFINITION: &str = r#"---
# A backend that somebody declares: docs/kubernetes.md.
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata:
  name: backends.leister.io
spec:
  group: leister.io
  scope: Namespaced
  names: {kind: Backend, plural: backends, singular: backend, listKind: BackendList}
  versions:
    - name: v1
      served: true
      storage: true
      subresources: {status: {}}
      additionalPrinterColumns:
        - {name: Driver, jsonPath: .spec.storageDriverName, type: string}
        - {name: Health, jsonPath: .status.health, type: string}
        - {name: Volumes, jsonPath: .status.volumes, type: integer}
        - {name: Backend, jsonPath: .status.backend, type: string, priority: 1}
        - {name: Message, jsonPath: .status.message, type: string, priority: 1}
        - {name: Age, jsonPath: .metadata.creationTimestamp, type: date}
      schema:
        openAPIV3Schema:
          description: A backend. It cannot be deleted while it has volumes.
          type: object
          required: [spec]
          properties:
            spec:
              description: A backend file, as in docs/backends.md. What is secret stands in a Secret of this namespace.
              type: object
              required: [storageDriverName]
              x-kubernetes-preserve-unknown-fields: true
              x-kubernetes-validations:
                - rule: has(self.backendName) == has(oldSelf.backendName) && (!has(self.backendName) || self.backendName == oldSelf.backendName)
                  message: backendName never changes; make another object
                - rule: "!has(self.password) && !has(self.clientPrivateKey) && !has(self.chapInitiatorSecret) && !has(self.chapTargetInitiatorSecret)"
                  message: "a secret does not stand here; write it into a Secret and name that: `credentials: {name: ...}`"
              properties:
                version: {type: integer, minimum: 1, maximum: 1}
                storageDriverName: {type: string, minLength: 1}
                backendName: {type: string, minLength: 1, maxLength: 128}
                credentials:
                  type: object
                  required: [name]
                  properties:
                    name: {type: string, minLength: 1}
                    type: {type: string}
                password: {type: string}
                clientPrivateKey: {type: string}
                chapInitiatorSecret: {type: string}
                chapTargetInitiatorSecret: {type: string}
            status:
              description: What came of it.
              type: object
              x-kubernetes-preserve-unknown-fields: true
---
# A backend that has volumes stays. Only with its whole namespace it goes: a finalizer would hold that up, since who is to
# take it away loses its rights first.
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata:
  name: leister-backends
spec:
  failurePolicy: Fail
  matchConstraints:
    resourceRules:
      - apiGroups: [leister.io]
        apiVersions: [v1]
        operations: [DELETE]
        resources: [backends]
        scope: Namespaced
      - apiGroups: [trident.netapp.io]
        apiVersions: [v1]
        operations: [DELETE]
        resources: [tridentbackendconfigs]
        scope: Namespaced
  matchConditions:
    - name: has-volumes
      expression: has(oldObject.status) && has(oldObject.status.volumes) && oldObject.status.volumes > 0
  validations:
    - expression: has(namespaceObject.metadata.deletionTimestamp)
      messageExpression: "'it has ' + string(oldObject.status.volumes) + ' volumes; delete or forget them first, or keep new ones away with `userState: suspended`'"
      reason: Forbidden
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata:
  name: leister-backends
spec:
  policyName: leister-backends
  validationActions: [Deny]
"#;

/// `kind: TridentBackendConfig`, for a cluster that does not have it from Trident.
pub const TRIDENT_DEFINITION: &str = r#"---
# Trident's resource, for clusters without Trident: `leister controller --trident-configs` reads it.
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata:
  name: tridentbackendconfigs.trident.netapp.io
spec:
  group: trident.netapp.io
  scope: Namespaced
  names:
    kind: TridentBackendConfig
    plural: tridentbackendconfigs
    singular: tridentbackendconfig
    listKind: TridentBackendConfigList
    shortNames: [tbc, tbconfig]
  versions:
    - name: v1
      served: true
      storage: true
      subresources: {status: {}}
      additionalPrinterColumns:
        - {name: Backend Name, jsonPath: .status.backendInfo.backendName, type: string}
        - {name: Backend UUID, jsonPath: .status.backendInfo.backendUUID, type: string}
        - {name: Phase, jsonPath: .status.phase, type: string}
        - {name: Status, jsonPath: .status.lastOperationStatus, type: string}
        - {name: Message, jsonPath: .status.message, type: string, priority: 1}
      schema:
        openAPIV3Schema:
          type: object
          x-kubernetes-preserve-unknown-fields: true
"#;
