{{- define "switchboard.name" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "switchboard.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "switchboard.labels" -}}
{{ include "switchboard.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{- define "switchboard.isCluster" -}}
{{- if or .Values.redis.url .Values.redis.existingSecret -}}yes{{- end -}}
{{- end -}}

{{- define "switchboard.secret" -}}
{{- .Values.auth.existingSecret | default (include "switchboard.name" .) -}}
{{- end -}}

{{- define "switchboard.pod" -}}
metadata:
  labels:
    {{- include "switchboard.labels" . | nindent 4 }}
  annotations:
    # Some settings need a restart.
    checksum/settings: {{ .Values.settings | sha256sum }}
    {{- if .Values.metrics.annotations }}
    prometheus.io/scrape: "true"
    prometheus.io/port: "9090"
    prometheus.io/path: /metrics
    {{- end }}
spec:
  automountServiceAccountToken: false
  enableServiceLinks: false
  terminationGracePeriodSeconds: {{ add .Values.drainSeconds .Values.preStopSeconds 15 }}
  {{- with .Values.imagePullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  securityContext:
    runAsNonRoot: true
    runAsUser: 65532
    runAsGroup: 65532
    fsGroup: 65532
    seccompProfile:
      type: RuntimeDefault
  containers:
    - name: switchboard
      image: "{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}"
      imagePullPolicy: {{ .Values.image.pullPolicy }}
      args: ["serve", "--config", "/etc/switchboard/switchboard.toml"]
      env:
        - name: SWITCHBOARD_LISTEN
          value: '[{address = "[::]:8090", roles = ["public", "admin"]}, {address = "[::]:9090", roles = ["metrics"]}]'
        - name: SWITCHBOARD_DATA_DIR
          value: {{ if include "switchboard.isCluster" . }}""{{ else }}/data{{ end }}
        - name: SWITCHBOARD_DRAIN__SECONDS
          value: {{ .Values.drainSeconds | quote }}
        - name: SWITCHBOARD_AUTH__SECRET
          valueFrom:
            secretKeyRef:
              name: {{ include "switchboard.secret" . }}
              key: jwt
        {{- if include "switchboard.isCluster" . }}
        - name: SWITCHBOARD_REDIS__URL
          valueFrom:
            secretKeyRef:
              name: {{ .Values.redis.existingSecret | default (printf "%s-redis" (include "switchboard.name" .)) }}
              key: url
        {{- end }}
        {{- with .Values.env }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      ports:
        - { name: http, containerPort: 8090 }
        - { name: metrics, containerPort: 9090 }
      # A server that is about to end is still sent clients for a moment.
      lifecycle:
        preStop:
          sleep:
            seconds: {{ .Values.preStopSeconds }}
      startupProbe:
        httpGet: { path: /healthz, port: http }
        periodSeconds: 1
        failureThreshold: 120
      livenessProbe:
        httpGet: { path: /healthz, port: http }
        periodSeconds: 10
        timeoutSeconds: 5
      readinessProbe:
        httpGet: { path: /readyz, port: http }
        periodSeconds: 2
      securityContext:
        allowPrivilegeEscalation: false
        readOnlyRootFilesystem: true
        capabilities:
          drop: ["ALL"]
      resources:
        {{- toYaml .Values.resources | nindent 8 }}
      volumeMounts:
        - { name: settings, mountPath: /etc/switchboard, readOnly: true }
        {{- if not (include "switchboard.isCluster" .) }}
        - { name: data, mountPath: /data }
        {{- end }}
  volumes:
    - name: settings
      configMap:
        name: {{ include "switchboard.name" . }}
  {{- with .Values.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end -}}
