# Without trampolines and kprobes, system call policies run on the tracepoint sys_enter, and say so.
for call in setuid setgid; do
	policy "$call" <<YAML
apiVersion: cilium.io/v1alpha1
kind: TracingPolicy
metadata:
  name: $call
spec:
  kprobes:
  - call: sys_$call
    syscall: true
    args:
    - index: 0
      type: int
YAML
done
ferra_start --policy "$POLICIES" --without fentry,fexit,fmod-ret,kprobe,kretprobe
expect_outcome ok setuid 1000
expect_events 1 process_kprobe.policy_name=setuid process_kprobe.args[0].int_arg=1000 process_kprobe.function_name=__x64_sys_setuid
refuse_event process_kprobe.policy_name=setgid
expect_text "$SAID" 'setuid.*seen through the tracepoint sys_enter'
ferra_stop
