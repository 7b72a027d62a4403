{{- define "leister.backendArgs" -}}
- --config=/etc/leister/backends
{{- if .Values.backends.credentials }}
- --backend-secrets=/etc/leister/credentials
{{- end }}
{{- end }}

{{- define "leister.backendMounts" -}}
- {name: backends, mountPath: /etc/leister/backends, readOnly: true}
{{- range .Values.backends.credentials }}
- {name: {{ printf "credentials-%s" . | trunc 63 }}, mountPath: /etc/leister/credentials/{{ . }}, readOnly: true}
{{- end }}
{{- end }}

{{- define "leister.backendVolumes" -}}
- name: backends
  secret:
    secretName: {{ include "leister.backendsSecret" . }}
    defaultMode: 0400
    # Backends may also be made through the API.
    optional: true
{{- range .Values.backends.credentials }}
- name: {{ printf "credentials-%s" . | trunc 63 }}
  secret: {secretName: {{ . }}, defaultMode: 0400}
{{- end }}
{{- end }}
