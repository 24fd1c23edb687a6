# The leader's pod is deleted: the other operator takes over, and no moment of it shows in a policy's status as a policy
# that runs on fewer nodes or is not ready.
# shellcheck source=e2e/cluster/cases/lib.sh
source "${BASH_SOURCE%/*}/lib.sh"
all=$(nodes | wc -l)
leader() { ferragon get lease ferragon-operator -o jsonpath='{.spec.holderIdentity}'; }
line='{.status.nodes.programmed}/{.status.nodes.desired} {.status.conditions[?(@.type=="Ready")].status}{"\n"}'
[[ $(kubectl get tracingpolicy protect -o jsonpath="$line") == "$all/$all True" ]] || fail "protect does not run before"
kubectl get tracingpolicy protect --watch -o jsonpath="$line" >told 2>&1 &
STARTED+=($!)
before=$(leader)
ferragon delete pod -l ferragon.io/leader=true --wait=false
another() { [[ $(leader) && $(leader) != "$before" ]]; }
eventually 90 another
echo "$before handed over to $(leader)"
# It works: what is edited now becomes ready by it.
eventually 90 kubectl annotate tracingpolicy protect --overwrite case=leader
kubectl patch tracingpolicy protect --type=merge -p '{"spec":{"kprobes":[{"call":"security_path_truncate","syscall":false,"args":[{"index":0,"type":"path"}],"selectors":[{"matchArgs":[{"index":0,"operator":"Prefix","values":["/etc/protected/"]}],"matchActions":[{"action":"Override","argError":-1}]}]}]}}' --dry-run=server >/dev/null
ferragon rollout status deployment/ferragon-operator --timeout=180s
both() { [[ $(ferra get nodes | grep -c '^node-') == "$all" ]]; }
eventually 90 both
kill "${STARTED[@]}"
cat told
if grep -v "^$all/$all True\$" told; then fail "status told otherwise meanwhile"; fi
