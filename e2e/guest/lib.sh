# Input: what a case wants done or expects. Output: it done; a failed expectation ends the case and says what was seen.
# All files are made in $CASE, the case's own folder, which is also the working directory.

EVENTS=$CASE/events.json # ferra's stdout
SAID=$CASE/ferra.err     # ferra's stderr
POLICIES=$CASE/policies
FERRA=
mkdir -p "$POLICIES"

fail() {
	echo "FAILED: $*"
	trap - ERR
	exit 1
}

# eventually SECONDS COMMAND…: tries until it succeeds.
eventually() {
	local limit=$((SECONDS + $1))
	shift
	until "$@"; do
		((SECONDS < limit)) || return 1
		sleep 0.05
	done
}

# policy NAME: writes stdin to $POLICIES/NAME.yaml, in one step, as an editor does.
policy() {
	cat >"$CASE/.new"
	mv "$CASE/.new" "$POLICIES/$1.yaml"
}

# file_policy NAME: a policy on every access to a file; stdin is its selectors. Argument 0 is the file, 1 what is done
# to it: 2 for a write, 4 for a read.
file_policy() {
	{
		cat <<YAML
apiVersion: cilium.io/v1alpha1
kind: TracingPolicy
metadata:
  name: $1
spec:
  kprobes:
  - call: security_file_permission
    syscall: false
    args:
    - {index: 0, type: file}
    - {index: 1, type: int}
    selectors:
YAML
		sed 's/^/    /'
	} | policy "$1"
}

# ferra_start ARGUMENT…: `ferra run -o json ARGUMENT…` in the background; returns when it is ready.
ferra_start() {
	: >"$SAID"
	ferra run -o json "$@" >"$EVENTS" 2>"$SAID" &
	FERRA=$!
	eventually 60 ferra_ready_or_gone || fail "ferra was not ready within 60 s"
	kill -0 "$FERRA" 2>/dev/null || fail "ferra ended before it was ready"
}

ferra_ready_or_gone() {
	grep -q '^ferra: ready' "$SAID" || ! kill -0 "$FERRA" 2>/dev/null
}

# ferra_stop [SIGNAL]: stops it (INT) and expects exit status 0. Its counters are in $SAID then.
ferra_stop() {
	local status=0 guard
	kill -"${1:-INT}" "$FERRA"
	{ sleep 10; kill -KILL "$FERRA"; } 2>/dev/null &
	guard=$!
	wait "$FERRA" 2>/dev/null || status=$?
	FERRA=
	kill "$guard" 2>/dev/null || fail "ferra did not stop within 10 s"
	((status == 0)) || fail "ferra ended with status $status when stopped"
}

# settle: returns when all that happened before has been reported: a process of its own goes through the same buffer.
settle() {
	local mark=settle-$RANDOM-$RANDOM
	/usr/bin/true "$mark"
	eventually 20 seen 1 "process_exec.process.arguments=$mark" || fail "no process_exec event of /usr/bin/true within 20 s"
}

# seen N CONDITION…: at least N events meet all conditions (see `probe`).
seen() {
	local wanted=$1
	shift
	(($(probe count "$EVENTS" "$@") >= wanted))
}

# expect_event CONDITION…: one or more such events, now or within 15 s.
expect_event() {
	eventually 15 seen 1 "$@" || fail "no event with: $*"
}

# expect_events N CONDITION…: exactly N such events so far.
expect_events() {
	local wanted=$1 count
	shift
	settle
	count=$(probe count "$EVENTS" "$@")
	((count == wanted)) || fail "$count events instead of $wanted with: $*"
}

# refuse_event CONDITION…: no such event so far.
refuse_event() {
	expect_events 0 "$@"
}

# expect_status STATUS COMMAND…: it exits so. What it prints is in $OUTPUT.
expect_status() {
	local wanted=$1 status=0
	shift
	OUTPUT=$("$@" 2>&1) || status=$?
	((status == wanted)) || fail "status $status instead of $wanted of: $* — it printed: $OUTPUT"
}

# expect_outcome WORD OPERATION…: `probe OPERATION…` ends so: ok, or an errno's name.
expect_outcome() {
	local wanted=$1 outcome
	shift
	outcome=$(probe "$@") || true
	[[ $outcome == "$wanted" ]] || fail "${outcome:-no outcome} instead of $wanted of: probe $*"
}

# expect_text FILE REGEX: a line of the file matches, now or within 15 s.
expect_text() {
	eventually 15 grep -Eq -- "$2" "$1" || fail "$1 has no line that matches: $2"
}

# kernel_at_least 6.1: whether this kernel is of that version or newer.
kernel_at_least() {
	local wanted running
	IFS=. read -ra wanted <<<"$1"
	IFS=.- read -ra running <<<"$(uname -r)"
	((running[0] > wanted[0] || (running[0] == wanted[0] && running[1] >= ${wanted[1]:-0})))
}

# agent_test NAME: agent/tests/NAME.rs, which the case's "# tests:" line names, too.
agent_test() {
	FERRAGON_TEST_HELPER=$E2E/tests/helper "$E2E/tests/$1" --test-threads 1 || fail "agent/tests/$1.rs fails on this kernel"
}

end_of_case() {
	if [[ -n $FERRA ]]; then
		kill -KILL "$FERRA" 2>/dev/null || true
		wait "$FERRA" 2>/dev/null || true
	fi
	[[ -z $COMPLETE ]] || return 0
	if [[ -s $SAID ]]; then
		echo "--- ferra's stderr, its end:"
		tail -n 40 "$SAID"
	fi
	if [[ -s $EVENTS ]]; then
		echo "--- its last events, of $(wc -l <"$EVENTS"):"
		tail -n 12 "$EVENTS" | cut -c 1-1500
	fi
}
