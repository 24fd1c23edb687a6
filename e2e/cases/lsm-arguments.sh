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
      - {index: 0, operator: Prefix, values: [/tmp/refused/]}
      - {index: 2, operator: Mask, values: ["0x2"]}
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
mkdir -p /tmp/refused /tmp/allowed
library=$(ls /lib/x86_64-linux-gnu/libc.so.6 /usr/lib/x86_64-linux-gnu/libc.so.6 2>/dev/null | head -n 1)
cp "$library" /tmp/refused/libc.so.6
cp "$library" /tmp/allowed/libc.so.6
cp /usr/bin/true /tmp/refused/true
cp /usr/bin/true /tmp/allowed/true
ferra_start --policy "$POLICIES"

/tmp/allowed/true || fail "a permitted program did not run"
expect_outcome EACCES exec /tmp/refused/true
LD_PRELOAD=/tmp/allowed/libc.so.6 /usr/bin/true 2>allowed || fail "a program with a permitted library did not run"
LD_PRELOAD=/tmp/refused/libc.so.6 /usr/bin/true 2>refused || fail "a library that is not there is left out"
[[ ! -s allowed ]] || fail "a permitted library was not mapped: $(cat allowed)"
expect_text refused 'failed to map segment'

p=process_kprobe
expect_event $p.policy_name=running $p.function_name=security_bprm_check $p.args[0].linux_binprm_arg.path=/tmp/refused/true $p.action=KPROBE_ACTION_OVERRIDE
# MAP_PRIVATE | MAP_DENYWRITE: the third argument of the function, the fourth of the hook.
expect_event $p.policy_name=mapping $p.args[0].file_arg.path=/tmp/refused/libc.so.6 $p.args[2].size_arg=2050 $p.action=KPROBE_ACTION_OVERRIDE
if [[ -e $POLICIES/maps.yaml ]]; then
	expect_event process_lsm.policy_name=maps process_lsm.args[0].file_arg.path=/tmp/allowed/libc.so.6 process_lsm.args[1].size_arg=2050
fi
ferra_stop
