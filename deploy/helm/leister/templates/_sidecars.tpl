{{- /* They use the socket /csi/csi.sock of the volume `socket`. */}}
{{- define "leister.sidecars" -}}
{{- $sidecars := list (dict "name" "csi-provisioner" "image" .Values.sidecars.provisioner "args" (list "--extra-create-metadata")) }}
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
  {{- with include "leister.reach" $ | trim }}
  env:
    {{- . | nindent 4 }}
  {{- end }}
  securityContext:
    {{- include "leister.confined" $ | nindent 4 }}
  resources:
    {{- toYaml $.Values.sidecars.resources | nindent 4 }}
  volumeMounts:
    - {name: socket, mountPath: /csi}
{{- end }}
{{- end }}
