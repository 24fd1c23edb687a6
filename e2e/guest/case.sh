# Input: one case file. Output: its exit status; on failure the line that failed, and what ferra said.
set -Eeuo pipefail
. "$E2E/guest/lib.sh"
trap 'echo "FAILED at ${BASH_SOURCE[0]##*/}:$LINENO: $BASH_COMMAND"' ERR
# Also when the time limit ends the case: $? says nothing then.
trap 'status=$?; end_of_case; exit $status' EXIT
COMPLETE=
. "$1"
COMPLETE=yes
