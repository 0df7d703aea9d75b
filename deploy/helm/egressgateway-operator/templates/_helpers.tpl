{{- define "egw.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 45 | trimSuffix "-" -}}
{{- end -}}

{{- /* At most 45 characters, so that every suffix of ours leaves a name within 63. */ -}}
{{- define "egw.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 45 | trimSuffix "-" -}}
{{- else if contains (include "egw.name" .) .Release.Name -}}
{{- .Release.Name | trunc 45 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "egw.name" .) | trunc 45 | trimSuffix "-" -}}
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
{{- include "egw.childRules" (dict "root" . "shared" false) }}
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create]
{{- end -}}

{{- /*
Rights to children. Where only gateways are that EgressGateways share (`shared`), what hangs on those is written, and no workload.
*/ -}}
{{- define "egw.childRules" -}}
{{- $istio := "[get, list, watch, create, patch, delete]" }}
{{- $workload := ternary "[list, watch]" $istio .shared }}
- apiGroups: [""]
  resources: [serviceaccounts, services]
  verbs: {{ $workload }}
- apiGroups: [apps]
  resources: [deployments]
  verbs: {{ $workload }}
- apiGroups: [autoscaling]
  resources: [horizontalpodautoscalers]
  verbs: {{ $workload }}
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: {{ $workload }}
- apiGroups: [networking.k8s.io]
  resources: [networkpolicies]
  verbs: {{ $workload }}
- apiGroups: [networking.istio.io]
  resources: [destinationrules, envoyfilters, gateways, serviceentries, virtualservices]
  verbs: {{ $istio }}
{{- /* Other people's: they may hide a route from clients, which the status says. */}}
- apiGroups: [networking.istio.io]
  resources: [sidecars]
  verbs: [list, watch]
- apiGroups: [security.istio.io]
  resources: [authorizationpolicies]
  verbs: {{ $istio }}
- apiGroups: [telemetry.istio.io]
  resources: [telemetries]
  verbs: {{ $istio }}
{{- if .root.Values.apisix.enabled }}
- apiGroups: [apisix.apache.org]
  resources: [apisixroutes, apisixupstreams]
  verbs: {{ $istio }}
{{- end }}
- apiGroups: [rbac.authorization.k8s.io]
  resources: [rolebindings]
  verbs: {{ $workload }}
- apiGroups: [""]
  resources: [pods]
  verbs: [list, watch]
{{- if .shared }}
- apiGroups: [rbac.authorization.k8s.io]
  resources: [roles]
  verbs: [list, watch]
{{- else }}
# Roles of an operator that ran without this chart are removed; none is written.
- apiGroups: [rbac.authorization.k8s.io]
  resources: [roles]
  verbs: [list, watch, delete]
# A gateway that opens TLS with a Secret has an account that may list Secrets: istiod insists. The operator hands that right out by
# binding this one ClusterRole: it has the right neither itself, nor may it write a role.
- apiGroups: [rbac.authorization.k8s.io]
  resources: [clusterroles]
  resourceNames: [{{ include "egw.gatewayClusterRole" .root }}]
  verbs: [bind]
{{- end }}
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
  resourceNames: [{{ include "egw.fullname" . }}]
  verbs: [get, update]
{{- end -}}

{{- define "egw.recordRules" -}}
# Records of children in other namespaces: which objects have some must outlive them, where no tenant can write.
- apiGroups: [""]
  resources: [configmaps]
  verbs: [list, watch, create, patch, delete]
{{- end -}}

{{- define "egw.meshConfig" -}}
{{- /* Not there at all after an upgrade with the values of an older chart. */}}
{{- $revision := default "" .Values.mesh.revision }}
{{- if has $revision (list "" "default") }}istio{{ else }}istio-{{ $revision }}{{ end }}
{{- end -}}

{{- define "egw.meshRules" -}}
- apiGroups: [""]
  resources: [configmaps]
  resourceNames: [{{ include "egw.meshConfig" . }}]
  verbs: [list, watch]
{{- if .Values.watchNamespaces }}
- apiGroups: [apps]
  resources: [deployments]
  verbs: [list, watch]
{{- end }}
{{- end -}}

{{- define "egw.args" -}}
- run
{{- range .Values.watchNamespaces }}
- --namespace={{ . }}
{{- end }}
{{- range .Values.gatewayNamespaces }}
- --gateway-namespace={{ . }}
{{- end }}
{{- if not .Values.builtInClass }}
- --no-built-in-class
{{- end }}
- --gateway-cluster-role={{ include "egw.gatewayClusterRole" . }}
- --mesh-namespace={{ .Values.mesh.namespace }}
{{- with .Values.mesh.revision }}
- --mesh-revision={{ . }}
{{- end }}
{{- with .Values.mesh.trustDomain }}
- --trust-domain={{ . }}
{{- end }}
- --cluster-domain={{ .Values.mesh.clusterDomain }}
- --push-grace-seconds={{ .Values.mesh.pushGraceSeconds }}
- --lease-name={{ include "egw.fullname" . }}
- --lease-seconds={{ .Values.leaderElection.leaseSeconds }}
- --workers={{ .Values.workers }}
- --max-in-flight={{ .Values.maxInFlight }}
- --namespace-memory-mib={{ .Values.namespaceMemoryMiB }}
- --metrics-port={{ .Values.metrics.port }}
- --log-format={{ .Values.log.format }}
- --log-level={{ .Values.log.level }}
{{- range .Values.extraArgs }}
- {{ . | quote }}
{{- end }}
{{- end -}}

{{- /*
Tolerations as given, and a short one for each taint of a node that died, unless those name it: the API server would add 300 seconds for it.
*/ -}}
{{- define "egw.tolerations" -}}
{{- with .Values.tolerations }}
{{- toYaml . }}
{{ end }}
{{- range $taint := list "node.kubernetes.io/not-ready" "node.kubernetes.io/unreachable" }}
{{- $named := false }}
{{- range $.Values.tolerations }}
{{- if and (or (not .key) (eq .key $taint)) (or (not .effect) (eq .effect "NoExecute")) }}{{ $named = true }}{{ end }}
{{- end }}
{{- if not $named }}
- {key: {{ $taint }}, operator: Exists, effect: NoExecute, tolerationSeconds: 30}
{{- end }}
{{- end }}
{{- end -}}

{{- /*
Where the scheduler had a constraint for zones too, it would leave nodes without a zone out of the score of both, and put every replica on
one of them; so other zones are a preference, as other nodes are.
*/ -}}
{{- define "egw.affinity" -}}
{{- if .Values.affinity }}
{{- toYaml .Values.affinity }}
{{- else if not .Values.topologySpreadConstraints -}}
podAntiAffinity:
  preferredDuringSchedulingIgnoredDuringExecution:
  # Nodes are the affair of topologySpreadConstraints. Replicas that a rollout replaces do not count; Kubernetes 1.30 drops that key.
  - weight: 100
    podAffinityTerm:
      topologyKey: topology.kubernetes.io/zone
      labelSelector:
        matchLabels: {{- include "egw.selector" . | nindent 10 }}
      matchLabelKeys: [pod-template-hash]
{{- end }}
{{- end -}}
