# ferra and kubectl tell the same of a policy, one that runs and one that only some nodes are to run; a policy is refused
# with a helpful message, also when it is only tried.
# shellcheck source=e2e/cluster/cases/lib.sh
source "${BASH_SOURCE%/*}/lib.sh"
victims
protect
first=$(nodes | head -n 1)
kubectl label node "$first" tier=front --overwrite
sed 's/^spec:/spec:\n  nodeSelector: {matchLabels: {tier: front}}/' "$ROOT/examples/policies/setuid.yaml" >setuid.yaml
name=$(sed -n 's/^  name: //p' setuid.yaml)
kubectl apply -f setuid.yaml
ready "$name"
all=$(nodes | wc -l)

ferra get policies | tee policies
grep -q "^-  *protect  *enforce  *True  *$all/$all " policies || fail "protect does not run on $all nodes"
grep -q "^-  *$name  *enforce  *True  *1/1 " policies || fail "$name does not run on one node"
# Name, mode, ready, nodes, hooks.
for row in protect "$name"; do
	mine=$(grep " $row " policies | awk '{print $2, $3, $4, $5, $6}')
	theirs=$(kubectl get tracingpolicy "$row" --no-headers | awk '{print $1, $2, $3, $4, $5}')
	[[ $mine == "$theirs" ]] || fail "ferra says '$mine', kubectl '$theirs'"
done
[[ $(ferra get policies protect -o json | grep -c '"kind": *"TracingPolicy"') == 1 ]] || fail "-o json is not the policy"
ferra get policies protect -o yaml | grep -q '^kind: TracingPolicy' || fail "-o yaml is not the policy"
ferra describe policy protect | tee described
for wanted in 'Name:  *protect' 'Nodes:  *'$all/$all 'Ready  *True' 'Enforcing  *True' 'Kernels:'; do
	grep -q "$wanted" described || fail "describe does not tell of $wanted"
done

kubectl label node "$first" tier-
nobody() { [[ $(kubectl get tracingpolicy "$name" -o jsonpath='{.status.nodes.desired}') == 0 ]]; }
eventually 60 nobody

sed 's/call: tcp_connect/call: tcp_conect/' "$ROOT/examples/policies/tcp-connect.yaml" >wrong.yaml
for way in none server; do
	if kubectl apply -f wrong.yaml --dry-run=$way >refused 2>&1; then fail "accepted with --dry-run=$way: $(cat refused)"; fi
done
grep -q 'did you mean `tcp_connect`' refused || fail "the refusal does not help: $(cat refused)"
kubectl delete tracingpolicy "$name"
# Counted in the kernels, told in the status.
for pod in $(pods); do
	refuses "$pod"
done
enforced() {
	local count
	count=$(kubectl get tracingpolicy protect -o jsonpath='{.status.enforced}')
	((${count:-0} >= all))
}
eventually 90 enforced
