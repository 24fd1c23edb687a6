# helm install brings operator and agents up on all nodes; the API server has the policies' types and the webhook's
# authority; every node is known with its kernel.
# shellcheck source=e2e/cluster/cases/lib.sh
source "${BASH_SOURCE%/*}/lib.sh"
# A cluster that was kept has it already.
if ! helm -n ferragon status ferragon >/dev/null 2>&1; then
	for node in $(nodes); do
		loaded "$node" >"$SHARED/loaded-$node"
	done
	install
fi
images "$(sed -n 's/^appVersion: *"\?\([^"]*\)"\?$/\1/p' "$CHART/Chart.yaml")"
for name in tracingpolicies tracingpoliciesnamespaced; do
	kubectl wait --for=condition=Established "crd/$name.cilium.io" --timeout=60s
done
authority() { [[ $(kubectl get validatingwebhookconfiguration ferragon -o jsonpath='{.webhooks[0].clientConfig.caBundle}') ]]; }
eventually 60 authority

all_nodes() {
	ferra get nodes >nodes
	local node
	for node in $(nodes); do
		grep -q "^$node  *Current  *$(kubectl get node "$node" -o jsonpath='{.status.nodeInfo.kernelVersion}') " nodes || return 1
	done
}
eventually 90 all_nodes
cat nodes
