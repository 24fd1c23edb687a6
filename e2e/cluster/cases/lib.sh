# Input: kubectl, helm, ferra and node in the PATH, $CHART, $ROOT (the workspace), $SHARED (a folder for all cases).
# Output: what the cases have in common; a failed expectation ends the case and says what was seen.
set -euo pipefail
WORK=$(mktemp -d)
cd "$WORK"
STARTED=()
trap 'kill "${STARTED[@]}" 2>/dev/null || true; rm -rf "$WORK"' EXIT

fail() {
	echo "FAILED: $*"
	exit 1
}

# eventually SECONDS COMMAND…: tries until it succeeds.
eventually() {
	local limit=$((SECONDS + $1))
	shift
	until "$@"; do
		((SECONDS < limit)) || fail "not within time: $*"
		sleep 0.5
	done
}

ferragon() { kubectl -n ferragon "$@"; }
nodes() { kubectl get nodes -o name | sed 's|node/||'; }
install() {
	helm install ferragon "$CHART" --namespace ferragon --create-namespace --set image.pullPolicy=Never --set webhook.timeoutSeconds=30 --wait --timeout 6m
}
ready() { kubectl wait --for=condition=Ready "tracingpolicy/$1" --timeout="${2:-240}s" >/dev/null; }

# victims: a pod on every node, with a file that policies of the cases protect.
victims() {
	local number=0 node
	for node in $(nodes); do
		number=$((number + 1))
		kubectl apply -f - <<-YAML
			apiVersion: v1
			kind: Pod
			metadata: {name: victim-$number, labels: {app: victim}}
			spec:
			  nodeName: $node
			  terminationGracePeriodSeconds: 0
			  containers:
			  - name: main
			    image: docker.io/library/busybox:1
			    imagePullPolicy: IfNotPresent
			    command: [sh, -c, 'mkdir -p /etc/protected; echo worth >/etc/protected/ledger; exec sleep 86400']
		YAML
	done
	kubectl wait --for=condition=Ready pod -l app=victim --timeout=180s >/dev/null
}
pods() { kubectl get pods -l app=victim -o jsonpath='{.items[*].metadata.name}'; }

# protect: nobody writes below /etc/protected in these pods.
protect() {
	sed 's/name: file-monitoring-enforce/name: protect/; s/^spec:/spec:\n  podSelector: {matchLabels: {app: victim}}/' \
		"$ROOT/examples/policies/file-monitoring-enforce.yaml" | kubectl apply -f -
	ready protect
}

write() { kubectl exec "$1" -- sh -c 'echo intruder >>/etc/protected/ledger' >/dev/null 2>&1; }
# refuses POD: the file cannot be written.
refuses() {
	if write "$1"; then fail "$1 wrote to the protected file"; fi
	[[ $(kubectl exec "$1" -- cat /etc/protected/ledger) == worth ]] || fail "the file in $1 was changed"
}

# Writers that try over and over, in every victim, until `hammered`: each attempt is a process of its own, as it is killed.
# They leave the node's one CPU to others in between.
hammer() {
	local pod
	for pod in $(pods); do
		kubectl exec "$pod" -- sh -c 'rm -f /tmp/stop; n=0
			while [ ! -e /tmp/stop ]; do
				(echo intruder >>/etc/protected/ledger) 2>/dev/null && echo "attempt $n was let through"
				n=$((n + 1))
				usleep 30000
			done
			echo "attempts $n"' >"$WORK/hammer-$pod" 2>&1 &
		STARTED+=($!)
	done
	for pod in $(pods); do
		eventually 60 kubectl exec "$pod" -- sh -c 'ls /tmp >/dev/null'
	done
}
hammered() {
	local pod attempts
	for pod in $(pods); do
		kubectl exec "$pod" -- touch /tmp/stop
	done
	wait "${STARTED[@]}" || true
	STARTED=()
	for pod in $(pods); do
		attempts=$(sed -n 's/^attempts //p' "$WORK/hammer-$pod")
		echo "$pod: ${attempts:-no} attempts"
		((${attempts:-0} > 50)) || fail "the writer in $pod tried ${attempts:-0} times: $(tail -n 3 "$WORK/hammer-$pod")"
		if grep 'let through' "$WORK/hammer-$pod"; then fail "a write in $pod got through"; fi
		refuses "$pod"
	done
}

# images TAG: all pods of operator and agent are ready, and of this image.
images() {
	local all wanted
	ferragon rollout status deployment/ferragon-operator --timeout=180s >/dev/null
	ferragon rollout status daemonset/ferragon --timeout=240s >/dev/null
	all=$(ferragon get pods -o jsonpath='{range .items[?(@.status.phase=="Running")]}{.spec.containers[0].image}{"\n"}{end}')
	wanted=$(($(nodes | wc -l) + 2))
	(($(grep -c ":$1\$" <<<"$all") == wanted)) || fail "wanted $wanted pods of version $1, there are: $all"
}

# Symbols of programs and of the trampolines that call them, which are in a node's kernel until the last reference is gone.
loaded() { node "$1" -- "grep -c 'bpf_prog_\|bpf_trampoline_' /proc/kallsyms" || true; }
