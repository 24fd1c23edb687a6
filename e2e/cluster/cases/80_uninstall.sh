# helm uninstall leaves nothing in any kernel, and nothing of its own in the cluster but the policies and their types, which
# the next installation finds.
# shellcheck source=e2e/cluster/cases/lib.sh
source "${BASH_SOURCE%/*}/lib.sh"
helm -n ferragon uninstall ferragon --wait --timeout 5m
# Helm does not wait for the pods of what it has deleted.
no_pods() { [[ -z $(ferragon get pods -o name) ]]; }
eventually 120 no_pods || fail "the pods do not end: $(ferragon get pods)"
left=$(ferragon get all,secrets,configmaps,leases,pdb -o name | grep -v 'configmap/kube-root-ca.crt' || true)
echo "left: ${left:-nothing}"
if grep -v 'secret/ferragon-operator-ca\|configmap/ferragon-ca\|configmap/ferragon-fleet\|lease.*/ferragon-operator' <<<"$left" | grep .; then
	fail "the namespace still has these"
fi
left=$(kubectl get clusterroles,clusterrolebindings,validatingwebhookconfigurations -o name | grep ferragon || true)
[[ -z $left ]] || fail "the cluster still has $left"
kubectl get tracingpolicy protect >/dev/null || fail "the policy went with the chart"
for pod in $(pods); do
	write "$pod" || fail "$pod still cannot write"
done
kubectl delete pods --all --namespace default --wait
for node in $(nodes); do
	pins=$(node "$node" -- 'find /sys/fs/bpf -mindepth 1 -name "*" | grep -i ferragon || true')
	[[ -z $pins ]] || fail "$node has pins: $pins"
	as_before() { (($(loaded "$node") <= $(cat "$SHARED/loaded-$node"))); }
	eventually 60 as_before
	echo "$node: $(loaded "$node") programs and trampolines, as before"
done

# What the cluster still has is in force again with the next installation; not before what uninstalls has had its time.
install
ready protect
kubectl delete tracingpolicy protect --timeout=60s
