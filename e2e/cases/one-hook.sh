# Policies of one hook do not depend on each other: each sees, counts and does what it would alone.

# rule NAME FILE MODE ACTION…
rule() {
	local name=$1 file=$2 mode=$3
	shift 3
	policy "$name" <<YAML
apiVersion: cilium.io/v1alpha1
kind: TracingPolicy
metadata:
  name: $name
spec:
  options:
  - {name: policy-mode, value: $mode}
  kprobes:
  - call: security_file_permission
    syscall: false
    message: Seen by $name
    args:
    - {index: 0, type: file}
    - {index: 1, type: int}
    selectors:
    - matchArgs:
      - {index: 0, operator: Prefix, values: [$file]}
      - {index: 1, operator: Mask, values: ["2"]}
      matchActions:
$(printf '      - {%s}\n' "$@")
YAML
}
mkdir -p /tmp/rules/a /tmp/rules/b
rule all /tmp/rules/ enforce 'action: Post'
rule only-a /tmp/rules/a/ enforce 'action: Post'
rule silent /tmp/rules/ enforce 'action: NoPost'
rule deny-b /tmp/rules/b/ enforce 'action: Override, argError: -13'
rule deny-x /tmp/rules/a/x enforce 'action: Override, argError: -1'
rule kill-y /tmp/rules/a/y enforce 'action: Sigkill'
rule would-kill /tmp/rules/ monitor 'action: Sigkill' 'action: Override, argError: -1'
rule usr1 /tmp/rules/a/signal enforce 'action: Signal, argSig: 10'
ferra_start --policy "$POLICIES"
expect_outcome ok write /tmp/rules/a/z text
expect_outcome EACCES write /tmp/rules/b/z text
expect_outcome EPERM write /tmp/rules/a/x text
expect_status 137 probe write /tmp/rules/a/y text
expect_status 138 probe write /tmp/rules/a/signal text
expect_outcome ok write /tmp/other text
[[ ! -s /tmp/rules/b/z && ! -s /tmp/rules/a/x && -s /tmp/rules/a/z ]] || fail "a write had another effect than its outcome"
expect_events 5 process_kprobe.policy_name=all "process_kprobe.message=Seen by all" process_kprobe.action=KPROBE_ACTION_POST
expect_events 4 process_kprobe.policy_name=only-a
expect_events 1 process_kprobe.policy_name=deny-b process_kprobe.args[0].file_arg.path=/tmp/rules/b/z process_kprobe.action=KPROBE_ACTION_OVERRIDE
expect_events 1 process_kprobe.policy_name=deny-x process_kprobe.args[0].file_arg.path=/tmp/rules/a/x
expect_events 1 process_kprobe.policy_name=kill-y process_kprobe.action=KPROBE_ACTION_SIGKILL
expect_events 1 process_kprobe.policy_name=usr1 process_kprobe.action=KPROBE_ACTION_SIGNAL
refuse_event process_kprobe.policy_name=silent
expect_events 5 process_kprobe.policy_name=would-kill
ferra_stop
expect_text "$SAID" '^ferra: policy all: 5 matched, 5 posted, 0 signalled, 0 overridden, 0 monitored,'
expect_text "$SAID" '^ferra: policy silent: 5 matched, 0 posted, 0 signalled, 0 overridden, 0 monitored,'
expect_text "$SAID" '^ferra: policy would-kill: 5 matched, 5 posted, 0 signalled, 0 overridden, 10 monitored,'
expect_text "$SAID" '^ferra: policy kill-y: 1 matched, 1 posted, 1 signalled, 0 overridden, 0 monitored,'
