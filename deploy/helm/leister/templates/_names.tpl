{{- define "leister.labels" -}}
app.kubernetes.io/name: leister
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "leister.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}

{{- define "leister.metadata" -}}
namespace: {{ .Release.Namespace }}
labels:
  {{- include "leister.labels" . | nindent 2 }}
{{- end }}

{{- /* Of things of the whole cluster: another release has others. */}}
{{- define "leister.clusterName" -}}
{{ .Release.Namespace }}-{{ .Release.Name }}
{{- end }}

{{- define "leister.backendsSecret" -}}
{{ .Values.backends.existingSecret | default (printf "%s-backends" .Release.Name) }}
{{- end }}

{{- define "leister.plugin" -}}
{{ .Values.kubeletDir }}/plugins/{{ .Values.csiName }}
{{- end }}

{{- /* How any of our programs reaches others. */}}
{{- define "leister.reach" -}}
{{- with .Values.apiserver.host }}
- {name: KUBERNETES_SERVICE_HOST, value: {{ . | quote }}}
{{- end }}
{{- with .Values.apiserver.port }}
- {name: KUBERNETES_SERVICE_PORT, value: {{ . | quote }}}
{{- end }}
{{- with .Values.proxy.http }}
- {name: HTTP_PROXY, value: {{ . | quote }}}
{{- end }}
{{- with .Values.proxy.https }}
- {name: HTTPS_PROXY, value: {{ . | quote }}}
{{- end }}
{{- with .Values.proxy.exceptions }}
- {name: NO_PROXY, value: {{ . | quote }}}
{{- end }}
{{- end }}

{{- define "leister.logArgs" -}}
- --log-format={{ .Values.log.format }}
- --log-level={{ .Values.log.level }}
{{- end }}

{{- /* What nobody needs who only speaks over the network. */}}
{{- define "leister.confined" -}}
allowPrivilegeEscalation: false
capabilities: {drop: [ALL]}
readOnlyRootFilesystem: true
{{- end }}

{{- /* Whether it answers at all: one that waits for an array or for the apiserver is neither dead nor of no use. Seldom, as
each time a program starts in the container. */}}
{{- define "leister.probes" -}}
startupProbe:
  exec: {command: [leister, version]}
  periodSeconds: 2
  timeoutSeconds: 30
  failureThreshold: 100
livenessProbe:
  exec: {command: [leister, version]}
  periodSeconds: 60
  timeoutSeconds: 30
  failureThreshold: 3
{{- end }}
