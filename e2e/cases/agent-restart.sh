# limit: 240
# tests: stored_set
# The agent of a node is killed and started again, over and over, without an operator: what is stored is enforced without
# a gap, also for processes that begin while there is no agent. In the end nothing is left.
mkdir -p /etc/restart-guarded
echo old >/etc/restart-guarded/file
file_policy guard <<'YAML'
- matchBinaries:
  - {operator: In, values: [/usr/bin/probe]}
  matchArgs:
  - {index: 0, operator: Prefix, values: [/etc/restart-guarded/]}
  - {index: 1, operator: Equal, values: ["2"]}
  matchActions:
  - {action: Override, argError: -1}
YAML
policy watch <<'YAML'
apiVersion: cilium.io/v1alpha1
kind: TracingPolicy
metadata:
  name: watch
spec:
  tracepoints:
  - subsystem: syscalls
    event: sys_enter_sethostname
YAML
STATE=$CASE/state
LOG=$CASE/agent.log
AGENT=
expect_status 0 ferra policy compile -o "$CASE/compiled" "$POLICIES"
FERRAGON_SET=$CASE/compiled FERRAGON_STATE=$STATE agent_test stored_set

# Each start has a log of its own, emptied before: the new agent's shell opens it some time later.
agent_start() {
	: >"$LOG"
	ferragon --state-dir "$STATE" --health-address 127.0.0.1:9091 --server-address "" 2>"$LOG" &
	AGENT=$!
	eventually 60 agent_ready_or_gone || fail "the agent was not ready within 60 s: $(cat "$LOG")"
	kill -0 "$AGENT" 2>/dev/null || fail "the agent ended before it was ready: $(cat "$LOG")"
}
agent_ready_or_gone() { grep -q ' ready' "$LOG" || ! kill -0 "$AGENT" 2>/dev/null; }
agent_end() {
	kill "-$1" "$AGENT"
	wait "$AGENT" 2>/dev/null || true
}
instances() { find /sys/fs/bpf/ferragon -mindepth 2 -maxdepth 2 -type d 2>/dev/null | wc -l; }
# What the guard has refused, as the agent shows it.
refused() {
	wget -qO- http://127.0.0.1:9091/metrics | sed -n 's/^ferragon_policy_actions_total{.*policy="guard",counter="override"} //p'
}
hook_pins() { find /sys/fs/bpf/ferragon -name 'hook-*' | wc -l; }
loaded() { tail -n 400 /proc/kallsyms | grep -c 'bpf_prog_\|bpf_trampoline_' || true; }
as_before() { (($(loaded) <= before)); }
sleep 2
before=$(loaded)

expect_outcome ok write /etc/restart-guarded/file old
content=$(cat /etc/restart-guarded/file)
agent_start
expect_text "$LOG" 'set applied .*hooks=2 failing=0'
expect_outcome EPERM write /etc/restart-guarded/file new
[[ $(instances) == 1 ]] || fail "$(instances) folders of pins"
if kernel_at_least 5.15; then
	[[ $(hook_pins) == 2 ]] || fail "pinned: $(find /sys/fs/bpf/ferragon)"
else
	# Programs on perf events cannot be pinned.
	[[ $(hook_pins) == 1 ]] || fail "pinned: $(find /sys/fs/bpf/ferragon)"
	expect_text "$LOG" 'would not outlive the agent.*tracepoint'
fi

probe hammer "$CASE/stop" write /etc/restart-guarded/file new >hammered &
hammer=$!
for round in 1 2 3; do
	so_far=$(refused)
	agent_end KILL
	# By a process that no agent has seen.
	expect_outcome EPERM write /etc/restart-guarded/file new
	agent_start
	expect_outcome EPERM write /etc/restart-guarded/file new
	[[ $(instances) == 1 ]] || fail "$(instances) folders of pins after restart $round"
	(($(refused) > so_far && so_far > 0)) || fail "$(refused) refused after restart $round, $so_far before"
done
agent_end TERM
expect_text "$LOG" 'what is in force stays'
expect_outcome EPERM write /etc/restart-guarded/file new
# Two at once do not harm one another: the second waits for the first.
agent_start
( timeout 3 ferragon --state-dir "$STATE" --health-address "" --server-address "" 2>"$CASE/second.log" ) 2>/dev/null || true
expect_outcome EPERM write /etc/restart-guarded/file new
agent_end TERM

# A damaged program is left out; what its predecessor runs stays.
artefact=$(ls -S "$STATE/artefacts" | head -n 1)
cp "$STATE/artefacts/$artefact" "$CASE/whole"
head -c 100 "$CASE/whole" >"$STATE/artefacts/$artefact"
agent_start
expect_text "$LOG" 'missing or damaged'
expect_outcome EPERM write /etc/restart-guarded/file new
agent_end KILL
cp "$CASE/whole" "$STATE/artefacts/$artefact"
agent_start
[[ $(instances) == 1 ]] || fail "$(instances) folders of pins after the damage was repaired"

touch "$CASE/stop"
wait "$hammer" || true
grep -Eq '^EPERM=[1-9][0-9]*$' hammered || fail "a guarded write was let through: $(cat hammered)"
[[ $(cat /etc/restart-guarded/file) == "$content" ]] || fail "the guarded file was changed"

# Without its state the agent runs nothing, and what was in force stays until somebody says otherwise.
agent_end KILL
rm -r "$STATE"
agent_start
expect_outcome EPERM write /etc/restart-guarded/file new
agent_end TERM
expect_status 0 ferragon cleanup
expect_outcome ok write /etc/restart-guarded/file new
[[ -z $(ls -A /sys/fs/bpf) ]] || fail "pinned: $(find /sys/fs/bpf)"
eventually 10 as_before || fail "$(loaded) programs after cleanup, $before before"
expect_status 1 ferragon --pin-dir /etc cleanup
