{{- define "egw.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 50 | trimSuffix "-" -}}
{{- end -}}

{{- /* At most 50 characters, so that every suffix of ours leaves a name within 63. */ -}}
{{- define "egw.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" -}}
{{- else if contains (include "egw.name" .) .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "egw.name" .) | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- /* Names of cluster-wide objects: two releases of one name in two namespaces are two operators. */ -}}
{{- define "egw.clusterName" -}}
{{- printf "%s-%s" (include "egw.fullname" .) (sha256sum .Release.Namespace | trunc 6) -}}
{{- end -}}

{{- define "egw.serviceAccount" -}}
{{- .Values.serviceAccount.name | default (ternary (include "egw.fullname" .) "default" .Values.serviceAccount.create) -}}
{{- end -}}

{{- define "egw.gatewayClusterRole" -}}
{{ include "egw.clusterName" . }}-gateway
{{- end -}}

{{- define "egw.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end -}}

{{- define "egw.selector" -}}
app.kubernetes.io/name: {{ include "egw.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "egw.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 }}
{{ include "egw.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: egressgateway
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end -}}

{{- define "egw.podSecurity" -}}
runAsNonRoot: true
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- define "egw.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end -}}

{{- define "egw.subject" -}}
- kind: ServiceAccount
  name: {{ include "egw.serviceAccount" . }}
  namespace: {{ .Release.Namespace }}
{{- end -}}

{{- /* What the operator may do where it serves EgressGateways: in every namespace, or in each of watchNamespaces. */ -}}
{{- define "egw.servingRules" -}}
- apiGroups: [egressgateway.dev]
  resources: [egressgateways]
  verbs: [list, watch, patch]
- apiGroups: [egressgateway.dev]
  resources: [egressgateways/status]
  verbs: [patch]
# Owner references that block deletion need it where the plugin OwnerReferencesPermissionEnforcement is on (OpenShift).
- apiGroups: [egressgateway.dev]
  resources: [egressgateways/finalizers]
  verbs: [update]
- apiGroups: [""]
  resources: [serviceaccounts, services]
  verbs: &child [get, list, watch, create, patch, delete]
- apiGroups: [apps]
  resources: [deployments]
  verbs: *child
- apiGroups: [autoscaling]
  resources: [horizontalpodautoscalers]
  verbs: *child
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: *child
- apiGroups: [networking.k8s.io]
  resources: [networkpolicies]
  verbs: *child
- apiGroups: [networking.istio.io]
  resources: [destinationrules, envoyfilters, gateways, serviceentries, virtualservices]
  verbs: *child
- apiGroups: [security.istio.io]
  resources: [authorizationpolicies]
  verbs: *child
- apiGroups: [telemetry.istio.io]
  resources: [telemetries]
  verbs: *child
{{- if .Values.apisix.enabled }}
- apiGroups: [apisix.apache.org]
  resources: [apisixroutes, apisixupstreams]
  verbs: *child
{{- end }}
# A gateway that opens TLS with a Secret has an account that may list Secrets: istiod insists. The operator hands that right out by
# binding one ClusterRole, and has it neither itself nor may it write another role.
- apiGroups: [rbac.authorization.k8s.io]
  resources: [rolebindings]
  verbs: *child
- apiGroups: [rbac.authorization.k8s.io]
  resources: [clusterroles]
  resourceNames: [{{ include "egw.gatewayClusterRole" . }}]
  verbs: [bind]
# Roles of an operator that ran without this chart are removed.
- apiGroups: [rbac.authorization.k8s.io]
  resources: [roles]
  verbs: [list, watch, delete]
- apiGroups: [""]
  resources: [pods]
  verbs: [list, watch]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create]
{{- end -}}

{{- define "egw.secretRules" -}}
- apiGroups: [""]
  resources: [secrets]
  verbs: [list, watch]
{{- end -}}

{{- define "egw.leaseRules" -}}
# To create is never granted by name: the object has none yet.
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  verbs: [create]
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  resourceNames: [egressgateway-operator]
  verbs: [get, update]
{{- end -}}

{{- define "egw.meshRules" -}}
- apiGroups: [""]
  resources: [configmaps]
  resourceNames: [istio]
  verbs: [list, watch]
{{- if .Values.watchNamespaces }}
- apiGroups: [apps]
  resources: [deployments]
  verbs: [list, watch]
{{- end }}
{{- end -}}

{{- define "egw.referenceRules" -}}
- apiGroups: [""]
  resources: [services, pods]
  verbs: [list, watch]
- apiGroups: [networking.istio.io]
  resources: [gateways]
  verbs: [list, watch]
{{- end -}}

{{- define "egw.args" -}}
- run
{{- range .Values.watchNamespaces }}
- --namespace={{ . }}
{{- end }}
{{- if not .Values.builtInClass }}
- --no-built-in-class
{{- end }}
- --gateway-cluster-role={{ include "egw.gatewayClusterRole" . }}
- --mesh-namespace={{ .Values.mesh.namespace }}
{{- with .Values.mesh.trustDomain }}
- --trust-domain={{ . }}
{{- end }}
- --cluster-domain={{ .Values.mesh.clusterDomain }}
- --push-grace-seconds={{ .Values.mesh.pushGraceSeconds }}
- --lease-seconds={{ .Values.leaderElection.leaseSeconds }}
- --workers={{ .Values.workers }}
- --max-in-flight={{ .Values.maxInFlight }}
- --metrics-port={{ .Values.metrics.port }}
- --log-format={{ .Values.log.format }}
- --log-level={{ .Values.log.level }}
{{- range .Values.extraArgs }}
- {{ . | quote }}
{{- end }}
{{- end -}}
