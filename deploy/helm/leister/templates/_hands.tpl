{{- /* What a container has of its node that mounts volumes there. */}}
{{- define "leister.hands" -}}
- {name: kubelet, mountPath: {{ .Values.kubeletDir }}, mountPropagation: Bidirectional}
- {name: state, mountPath: {{ .Values.stateDir }}, mountPropagation: Bidirectional}
- {name: dev, mountPath: /dev}
- {name: udev, mountPath: /run/udev}
- {name: lock, mountPath: /run/lock}
- {name: iscsi, mountPath: /etc/iscsi}
- {name: nvme, mountPath: /etc/nvme}
- {name: etc, mountPath: /host/etc}
- {name: run, mountPath: /run/leister}
- {name: tmp, mountPath: /tmp}
{{- end }}

{{- define "leister.handsVolumes" -}}
- {name: kubelet, hostPath: {path: {{ .Values.kubeletDir }}, type: Directory}}
- {name: state, hostPath: {path: {{ .Values.stateDir }}, type: DirectoryOrCreate}}
- {name: dev, hostPath: {path: /dev, type: Directory}}
- {name: udev, hostPath: {path: /run/udev, type: DirectoryOrCreate}}
- {name: lock, hostPath: {path: /run/lock, type: DirectoryOrCreate}}
# The names of this machine, and the records of iscsid
- {name: iscsi, hostPath: {path: /etc/iscsi, type: DirectoryOrCreate}}
- {name: nvme, hostPath: {path: /etc/nvme, type: DirectoryOrCreate}}
# For multipath.conf and what multipathd writes down: the image has links there
- {name: etc, hostPath: {path: /etc, type: Directory}}
- {name: run, emptyDir: {}}
- {name: tmp, emptyDir: {}}
{{- end }}

{{- define "leister.handsArgs" -}}
- --node=$(NODE_NAME)
- --csi-name={{ .Values.csiName }}
- --kubelet-dir={{ .Values.kubeletDir }}
- --state-dir={{ .Values.stateDir }}/leister
- --listen=none
{{- with .Values.node.topology }}
- --topology={{ join "," . }}
{{- end }}
{{- with .Values.node.maxVolumes }}
- --csi-max-volumes={{ . }}
{{- end }}
{{- if .Values.node.singlePath }}
- --single-path
{{- end }}
{{- if .Values.node.luksSecret }}
- --luks-secrets=/etc/leister/luks
{{- end }}
{{- include "leister.logArgs" . | nindent 0 }}
{{- range .Values.node.extraArgs }}
- {{ . | quote }}
{{- end }}
{{- end }}

{{- define "leister.handsEnv" -}}
- {name: NODE_NAME, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}}
{{- with include "leister.reach" . | trim }}
{{- . | nindent 0 }}
{{- end }}
{{- with .Values.node.extraEnv }}
{{- toYaml . | nindent 0 }}
{{- end }}
{{- end }}

{{- /* It mounts for the whole machine, speaks to its iscsid and multipathd (sockets of its network), waits for its udevd
(semaphores of its IPC), and looks who has a device open (its processes). */}}
{{- define "leister.handsPod" -}}
hostNetwork: true
hostPID: true
hostIPC: true
dnsPolicy: ClusterFirstWithHostNet
priorityClassName: {{ .Values.node.priorityClassName }}
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.node.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.node.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.node.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
securityContext: {runAsUser: 0, runAsGroup: 0}
{{- end }}
