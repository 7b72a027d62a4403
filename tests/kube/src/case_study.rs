//! The manifests of the case study, to the letter.

use crate::image::PAUSE;

/// Its class and its claim.
pub const CLASS_AND_CLAIM: &str = r"apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata:
  name: basic
mountOptions:
- rw
- nfsvers=3
- proto=tcp
- soft
- timeo=180
parameters:
  backendType: ontap-nas
  provisioningType: thick
provisioner: netapp.io/trident
reclaimPolicy: Delete
---
kind: PersistentVolumeClaim
apiVersion: v1
metadata:
  name: nfs-test
spec:
  accessModes:
    - ReadWriteMany
  resources:
    requests:
      storage: 300Gi
  storageClassName: basic
";

const REPLICAS: &str = r#"apiVersion: v1
kind: ReplicationController
metadata:
  name: nfs-busybox
spec:
  replicas: 2
  selector:
    name: nfs-busybox
  template:
    metadata:
      labels:
        name: nfs-busybox
    spec:
      containers:
      - image: busybox
        imagePullPolicy: IfNotPresent
        name: busybox
        ports:
        - containerPort: 80
          protocol: TCP
        volumeMounts:
        # name must match the volume name below
        - name: nfs-volume
          mountPath: "/mnt"
      volumes:
      - name: nfs-volume
        persistentVolumeClaim:
          claimName: nfs-test
"#;

/// Its replicas, of an image of this suite: busybox too, and it stays. Here pods have no network but their node's.
pub fn replicas() -> String {
    let replicas = REPLICAS.replace("image: busybox", &format!("image: {PAUSE}"));
    replicas.replace("      containers:", "      hostNetwork: true\n      containers:")
}
