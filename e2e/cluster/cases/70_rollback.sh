# helm rollback to the version before, likewise.
# shellcheck source=e2e/cluster/cases/lib.sh
source "${BASH_SOURCE%/*}/lib.sh"
hammer
helm -n ferragon rollback ferragon --wait --timeout 6m
images "$(sed -n 's/^appVersion: *"\?\([^"]*\)"\?$/\1/p' "$CHART/Chart.yaml")"
ready protect
hammered
