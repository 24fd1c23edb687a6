# Credentials, capabilities and sets of them.
policy privileges <<'YAML'
apiVersion: cilium.io/v1alpha1
kind: TracingPolicy
metadata:
  name: privileges
spec:
  kprobes:
  - call: commit_creds
    syscall: false
    args:
    - {index: 0, type: cred}
    selectors:
    - matchBinaries:
      - {operator: In, values: [/usr/bin/probe]}
  - call: security_capable
    syscall: false
    args:
    - {index: 2, type: capability}
    selectors:
    - matchBinaries:
      - {operator: Postfix, values: [/chroot]}
  - call: security_capset
    syscall: false
    args:
    - {index: 2, type: cap_effective}
    - {index: 3, type: cap_inheritable}
    - {index: 4, type: kernel_cap_t}
    selectors:
    - matchArgs:
      - {index: 3, operator: Mask, values: [CAP_CHOWN]}
      - {index: 4, operator: NotEqual, values: ["0"]}
YAML
ferra_start --policy "$POLICIES"
expect_outcome ok setuid 1234
chroot / /usr/bin/true
setpriv --inh-caps +chown,+kill /usr/bin/true
setpriv --inh-caps +kill /usr/bin/true
CRED=process_kprobe.args[0].process_credentials_arg
expect_event process_kprobe.function_name=commit_creds $CRED.uid=1234 $CRED.euid=1234 $CRED.suid=1234 $CRED.fsuid=1234
expect_event process_kprobe.function_name=security_capable process_kprobe.args[0].capability_arg.value=18 process_kprobe.args[0].capability_arg.name=CAP_SYS_CHROOT
expect_events 1 process_kprobe.function_name=security_capset process_kprobe.args[1].cap_inheritable_arg=0000000000000021
expect_events 1 process_kprobe.function_name=security_capset
# All that root has.
all=$(sed -n 's/^CapEff:\t//p' /proc/self/status)
expect_events 1 "process_kprobe.args[0].cap_effective_arg=$all" "process_kprobe.args[2].kernel_cap_t_arg=$all"
ferra_stop
