# No operator runs: policies are accepted, and judged when one is back; what runs is enforced, also by an agent that starts
# meanwhile, without a gap.
# shellcheck source=e2e/cluster/cases/lib.sh
source "${BASH_SOURCE%/*}/lib.sh"
hammer
ferragon scale deployment/ferragon-operator --replicas=0
ferragon wait --for=delete pod -l app.kubernetes.io/name=ferragon-operator --timeout=90s
kubectl apply -f "$ROOT/examples/policies/tcp-connect.yaml"
kubectl create configmap unrelated
kubectl delete configmap unrelated
name=$(sed -n 's/^  name: //p' "$ROOT/examples/policies/tcp-connect.yaml" | head -n 1)
[[ -z $(kubectl get tracingpolicy "$name" -o jsonpath='{.status}') ]] || fail "somebody judged the policy"
ferragon delete pod -l app.kubernetes.io/name=ferragon --wait --timeout=120s
all_agents() {
	[[ $(ferragon get daemonset ferragon -o jsonpath='{.status.numberReady}') == $(nodes | wc -l) ]]
}
eventually 240 all_agents
ferragon scale deployment/ferragon-operator --replicas=2
ready "$name"
ready protect
hammered
kubectl delete tracingpolicy "$name"
