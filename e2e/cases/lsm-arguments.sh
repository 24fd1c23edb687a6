# security_* functions whose LSM hook has another name or more arguments are enforced; arguments that can be NULL, as the
# file of anonymous memory, are no danger, whichever way the program is attached.
policy mapping <<'YAML'
apiVersion: cilium.io/v1alpha1
kind: TracingPolicy
metadata:
  name: mapping
spec:
  kprobes:
  - call: security_mmap_file
    syscall: false
    args:
    - {index: 0, type: file}
    - {index: 1, type: uint64}
    - {index: 2, type: uint64}
    selectors:
    - matchArgs:
      - {index: 0, operator: Prefix, values: [/tmp/unmapped/]}
      # MAP_FIXED and MAP_FIXED_NOREPLACE, with which the segments of programs are mapped, are no bits of the protection.
      - {index: 2, operator: Mask, values: ["0x100010"]}
      matchActions:
      - {action: Override, argError: -1}
YAML
policy running <<'YAML'
apiVersion: cilium.io/v1alpha1
kind: TracingPolicy
metadata:
  name: running
spec:
  kprobes:
  - call: security_bprm_check
    syscall: false
    args:
    - {index: 0, type: linux_binprm}
    selectors:
    - matchArgs:
      - {index: 0, operator: Prefix, values: [/tmp/refused/]}
      matchActions:
      - {action: Override, argError: -13}
YAML
policy maps <<'YAML'
apiVersion: cilium.io/v1alpha1
kind: TracingPolicy
metadata:
  name: maps
spec:
  lsmhooks:
  - hook: mmap_file
    args:
    - {index: 0, type: file}
    - {index: 3, type: uint64}
    selectors:
    - matchArgs:
      - {index: 0, operator: Prefix, values: [/tmp/allowed/]}
YAML
if ! grep -q bpf /sys/kernel/security/lsm; then
	# There the hook has one argument more than the function that could stand for it.
	rm "$POLICIES/maps.yaml"
fi
for dir in refused unmapped allowed; do
	mkdir -p /tmp/$dir
	cp /usr/bin/true /tmp/$dir/true
done
ferra_start --policy "$POLICIES"

/tmp/allowed/true || fail "a permitted program did not run"
expect_outcome EACCES exec /tmp/refused/true
# The old program is gone by then: the new one dies.
expect_status 139 /tmp/unmapped/true

p=process_kprobe
expect_event $p.policy_name=running $p.function_name=security_bprm_check $p.args[0].linux_binprm_arg.path=/tmp/refused/true $p.action=KPROBE_ACTION_OVERRIDE
expect_event $p.policy_name=mapping $p.function_name=security_mmap_file $p.args[0].file_arg.path=/tmp/unmapped/true $p.action=KPROBE_ACTION_OVERRIDE
if [[ -e $POLICIES/maps.yaml ]]; then
	expect_event process_lsm.policy_name=maps process_lsm.args[0].file_arg.path=/tmp/allowed/true
fi
ferra_stop
