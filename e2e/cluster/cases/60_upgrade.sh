# helm upgrade to another version of operator and agent while writers try all the time: no write gets through, and the
# policy is ready as before.
# shellcheck source=e2e/cluster/cases/lib.sh
source "${BASH_SOURCE%/*}/lib.sh"
version=$(sed -n 's/^appVersion: *"\?\([^"]*\)"\?$/\1/p' "$CHART/Chart.yaml")
for node in $(nodes); do
	for image in ferragon ferragon-operator; do
		node "$node" -- "ctr -n k8s.io images tag --force docker.io/ferragon/$image:$version docker.io/ferragon/$image:next"
	done
done
hammer
helm -n ferragon upgrade ferragon "$CHART" --reuse-values --set image.tag=next --set agent.bufferMiB=4 --wait --timeout 6m
images next
ready protect
hammered
eventually 60 ferragon exec ds/ferragon -c ferragon -- ferra --version
