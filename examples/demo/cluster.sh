#!/bin/bash
# Input: a cluster that kubectl and helm reach, with Ferragon's images on its nodes, and $CHART. Output: the walk-through,
# told and shown as it happens; it fails if what it tells does not happen. Run by `make demo`.
set -euo pipefail
HERE=$(realpath "$(dirname "${BASH_SOURCE[0]}")")
EXAMPLES=$HERE/../policies
WORK=$(mktemp -d)
SHOWN=$WORK/shown # all events of the pod
PATIENCE=90       # seconds; nodes are emulated
touch "$SHOWN"
# shellcheck source=examples/demo/stage.sh
source "$HERE/stage.sh"
WATCHERS=()
trap 'kill "${WATCHERS[@]}" 2>/dev/null || true; rm -rf "$WORK"' EXIT
cd "$WORK"
cp "$EXAMPLES"/file-monitoring.yaml "$EXAMPLES"/file-monitoring-enforce.yaml "$EXAMPLES"/tcp-connect.yaml .
sed 's/name: file-monitoring-enforce/name: protect/; s/^spec:/spec:\n  podSelector: {matchLabels: {app: xwing}}/' \
	file-monitoring-enforce.yaml >protect.yaml
sed 's/call: tcp_connect/call: tcp_conect/' tcp-connect.yaml >wrong.yaml

# What an earlier walk-through on a cluster that was kept may have left.
kubectl delete tracingpolicies --all >/dev/null 2>&1 || true

# ready POLICY: returns when it runs on all nodes.
ready() {
	kubectl wait --for=condition=Ready "tracingpolicy/$1" --timeout=120s >/dev/null
}

title '1. A cluster whose nodes have different kernels'
try kubectl get nodes -o custom-columns=NAME:.metadata.name,KERNEL:.status.nodeInfo.kernelVersion,KUBELET:.status.nodeInfo.kubeletVersion
# A cluster that was kept has it already.
helm -n ferragon status ferragon >/dev/null 2>&1 ||
	try helm install ferragon "$CHART" --namespace ferragon --create-namespace --set image.pullPolicy=Never --set webhook.timeoutSeconds=30 --wait --timeout 6m
try kubectl -n ferragon get pods -o wide
kubectl config set-context --current --namespace=default >/dev/null 2>&1 || true

title '2. Every exec and exit in pod xwing, without any policy'
# kubectl takes one of the agents: the pod goes to its node.
kubectl -n ferragon exec ds/ferragon -c ferragon -- ferra getevents -o json >"$WORK/any" 2>/dev/null &
ANY=$!
for _ in {1..60}; do
	[[ ! -s $WORK/any ]] || break
	kubectl -n ferragon exec ds/ferragon -c ferragon -- ferra --version >/dev/null
done
kill "$ANY" 2>/dev/null || true
[[ $(head -n 1 "$WORK/any") =~ \"node_name\":\"([^\"]+)\" ]]
NODE=${BASH_REMATCH[1]}
sed "s/NODE/$NODE/" "$HERE/xwing.yaml" >xwing.yaml
try kubectl apply -f xwing.yaml
kubectl wait --for=condition=Ready pod/xwing --timeout=120s >/dev/null
prompt kubectl -n ferragon exec ds/ferragon -c ferragon -- ferra getevents -o compact --pods xwing
kubectl -n ferragon exec ds/ferragon -c ferragon -- ferra getevents -o compact --color always --pods xwing > >(tee "$SHOWN") 2>"$WORK/errors" &
WATCHERS+=($!)
pause 5
try kubectl exec xwing -- sh -c '/bin/wget -q -T 1 -O - http://127.0.0.1/ || exit 3'
see '*process default/xwing*sh*wget*' '*exit*default/xwing*wget*' '*exit*default/xwing*sh* 3'

title '3. kubectl apply: who reads and writes files below /etc?'
try kubectl apply -f file-monitoring.yaml
ready file-monitoring
try kubectl get tracingpolicies
try kubectl exec xwing -- sh -c 'echo x >>/etc/wings'
see '*write*default/xwing*sh* /etc/wings' '*exit*'

title '4. Nobody writes below /etc/protected in pods with app=xwing'
kubectl exec xwing -- sh -c 'mkdir -p /etc/protected && echo "worth protecting" >/etc/protected/ledger'
try kubectl apply -f protect.yaml
ready protect
try kubectl get tracingpolicies -o wide
try kubectl exec xwing -- sh -c 'echo intruder >>/etc/protected/ledger'
see '*write*default/xwing*sh* /etc/protected/ledger' '*exit*default/xwing*SIGKILL*'
try kubectl exec xwing -- cat /etc/protected/ledger
[[ $(kubectl exec xwing -- cat /etc/protected/ledger) == 'worth protecting' ]]

title '5. A policy with mistakes is refused when it is applied'
try kubectl apply -f wrong.yaml
kubectl apply -f wrong.yaml >refused 2>&1 && { echo 'the walk-through is wrong: a bad policy was accepted'; exit 1; }
grep -q 'did you mean `tcp_connect`' refused

title '6. kubectl delete: it no longer acts'
try kubectl delete tracingpolicy protect file-monitoring
kubectl wait --for=delete tracingpolicy/protect --timeout=60s >/dev/null 2>&1 || true
for _ in {1..60}; do
	if kubectl exec xwing -- sh -c 'echo more >>/etc/protected/ledger' >/dev/null 2>&1; then
		WRITTEN=yes
		break
	fi
	pause 1
done
[[ ${WRITTEN:-} ]] || { echo 'the walk-through is wrong: the deleted policy still acts'; exit 1; }
try kubectl exec xwing -- sh -c 'echo more >>/etc/protected/ledger'
try kubectl get tracingpolicies
