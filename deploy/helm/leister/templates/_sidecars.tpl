{{- /* They use the socket /csi/csi.sock of the volume `socket`. */}}
{{- define "leister.sidecars" -}}
{{- $args := ternary (list "--extra-create-metadata" "--enable-capacity") (list "--extra-create-metadata") .Values.storageCapacity }}
{{- $sidecars := list (dict "name" "csi-provisioner" "image" .Values.sidecars.provisioner "args" $args) }}
{{- $sidecars = append $sidecars (dict "name" "csi-attacher" "image" .Values.sidecars.attacher "args" list) }}
{{- $sidecars = append $sidecars (dict "name" "csi-resizer" "image" .Values.sidecars.resizer "args" list) }}
{{- if .Values.snapshots.enabled }}
{{- $args := ternary (list "--feature-gates=CSIVolumeGroupSnapshot=true") list .Values.snapshots.groups }}
{{- $sidecars = append $sidecars (dict "name" "csi-snapshotter" "image" .Values.sidecars.snapshotter "args" $args) }}
{{- end }}
{{- range $sidecars }}
- name: {{ .name }}
  image: {{ $.Values.sidecars.registry }}/{{ .image }}
  imagePullPolicy: {{ $.Values.sidecars.pullPolicy }}
  args:
    - --csi-address=/csi/csi.sock
    - --timeout=60s
    - --kube-api-qps=50
    - --kube-api-burst=100
    {{- range .args }}
    - {{ . }}
    {{- end }}
    {{- if eq $.Values.mode "cluster" }}
    - --leader-election
    - --leader-election-namespace={{ $.Release.Namespace }}
    {{- end }}
    {{- range $.Values.sidecars.extraArgs }}
    - {{ . | quote }}
    {{- end }}
  {{- $owner := and $.Values.storageCapacity (eq .name "csi-provisioner") }}
  {{- $reach := include "leister.reach" $ | trim }}
  {{- if or $owner $reach }}
  env:
    {{- if $owner }}
    # What it tells of room goes with the release
    - {name: NAMESPACE, valueFrom: {fieldRef: {fieldPath: metadata.namespace}}}
    - {name: POD_NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
    {{- end }}
    {{- with $reach }}
    {{- . | nindent 4 }}
    {{- end }}
  {{- end }}
  securityContext:
    {{- include "leister.confined" $ | nindent 4 }}
  resources:
    {{- toYaml $.Values.sidecars.resources | nindent 4 }}
  volumeMounts:
    - {name: socket, mountPath: /csi}
{{- end }}
{{- end }}
