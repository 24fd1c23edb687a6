{{- define "ferragon.labels" -}}
app.kubernetes.io/part-of: ferragon
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "ferragon.operator.selector" -}}
app.kubernetes.io/name: ferragon-operator
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "ferragon.agent.selector" -}}
app.kubernetes.io/name: ferragon
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "ferragon.tag" -}}
{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}

{{/* A value as text: whole numbers without an exponent, which Helm gives those of a million and more. */}}
{{- define "ferragon.plain" -}}
{{- if and (kindIs "float64" .) (eq (floor .) .) -}}
{{ printf "%.0f" . }}
{{- else -}}
{{ . }}
{{- end -}}
{{- end }}
