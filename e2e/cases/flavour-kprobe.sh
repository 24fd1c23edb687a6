# Where trampolines are switched off, the same policies run on kprobes, with the same events.
file_policy files <<'YAML'
- matchArgs:
  - {index: 0, operator: Prefix, values: [/etc/]}
YAML
policy setuid <<'YAML'
apiVersion: cilium.io/v1alpha1
kind: TracingPolicy
metadata:
  name: setuid
spec:
  kprobes:
  - call: sys_setuid
    syscall: true
    args:
    - index: 0
      type: int
    selectors:
    - matchArgs:
      - index: 0
        operator: Equal
        values: ["1000"]
YAML
policy connect <<'YAML'
apiVersion: cilium.io/v1alpha1
kind: TracingPolicy
metadata:
  name: connect
spec:
  kprobes:
  - call: tcp_connect
    syscall: false
    args:
    - index: 0
      type: sock
    selectors:
    - matchArgs:
      - index: 0
        operator: DPort
        values: ["81"]
      matchActions:
      - action: Sigkill
YAML
policy opened <<'YAML'
apiVersion: cilium.io/v1alpha1
kind: TracingPolicy
metadata:
  name: opened
spec:
  kprobes:
  - call: sys_setuid
    syscall: true
    return: true
    args:
    - index: 0
      type: int
    returnArg:
      index: 0
      type: int
  - call: security_path_mkdir
    syscall: false
    return: true
    args:
    - index: 0
      type: path
    - index: 1
      type: dentry
    returnArg:
      index: 0
      type: int
    selectors:
    - matchArgs:
      - index: 1
        operator: Postfix
        values: [/made-here]
YAML
ferra_start --policy "$POLICIES" --without fentry,fexit,fmod-ret,lsm
mkdir -p /etc/deep/er /mnt; mount -t tmpfs none /mnt
expect_outcome ok write /etc/deep/er/x text
expect_outcome ok write /mnt/x text
expect_outcome ok setuid 1000
expect_outcome ok setuid 1001
expect_status 137 probe connect 127.0.0.1:81
expect_outcome ECONNREFUSED connect 127.0.0.1:82
mkdir /tmp/made-here /tmp/made-there
expect_outcome ok setuid 1002
expect_event process_kprobe.function_name=__x64_sys_setuid process_kprobe.args[0].int_arg=1002 process_kprobe.return.int_arg=0
expect_event process_kprobe.function_name=security_path_mkdir process_kprobe.args[0].path_arg.path=/tmp process_kprobe.return.int_arg=0
expect_events 1 process_kprobe.function_name=security_path_mkdir
expect_event process_kprobe.policy_name=files process_kprobe.args[0].file_arg.path=/etc/deep/er/x process_kprobe.args[1].int_arg=2
expect_events 1 process_kprobe.policy_name=setuid process_kprobe.args[0].int_arg=1000
refuse_event process_kprobe.args[0].file_arg.path=/mnt/x
expect_event process_kprobe.function_name=tcp_connect process_kprobe.args[0].sock_arg.daddr=127.0.0.1 process_kprobe.args[0].sock_arg.dport=81 process_kprobe.action=KPROBE_ACTION_SIGKILL
expect_events 1 process_kprobe.function_name=tcp_connect
ferra_stop
