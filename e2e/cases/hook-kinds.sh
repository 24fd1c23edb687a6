# What is not a kprobe: fentries, tracepoints raw and formatted, LSM hooks.
policy fentries <<'YAML'
apiVersion: cilium.io/v1alpha1
kind: TracingPolicy
metadata:
  name: fentries
spec:
  fentries:
  - call: security_file_permission
    syscall: false
    args:
    - {index: 0, type: file}
    - {index: 1, type: int}
    selectors:
    - matchArgs:
      - {index: 0, operator: Equal, values: [/etc/watched]}
  - call: sys_setuid
    syscall: true
    args:
    - {index: 0, type: uint32}
    selectors:
    - matchArgs:
      - {index: 0, operator: InRange, values: ["1000:1999"]}
YAML
policy tracepoints <<'YAML'
apiVersion: cilium.io/v1alpha1
kind: TracingPolicy
metadata:
  name: tracepoints
spec:
  tracepoints:
  - subsystem: syscalls
    event: sys_enter_setuid
    args:
    - {index: 4, type: auto}
    - {index: 5, type: auto}
    selectors:
    - matchArgs:
      - {index: 5, operator: GT, values: ["1500"]}
  - subsystem: syscalls
    event: sys_exit_mkdir
    args:
    - {index: 5, type: int64}
    selectors:
    - matchArgs:
      - {index: 5, operator: LT, values: ["0"]}
  - subsystem: sched
    event: sched_process_exec
    message: A program was executed
    args:
    - {index: 5, type: int32}
    selectors:
    - matchBinaries:
      - {operator: In, values: [/usr/bin/true]}
YAML
policy raw <<'YAML'
apiVersion: cilium.io/v1alpha1
kind: TracingPolicy
metadata:
  name: raw
spec:
  tracepoints:
  - subsystem: sched
    event: sched_process_exec
    raw: true
    args:
    - {index: 1, type: int}
    - {index: 2, type: linux_binprm}
    selectors:
    - matchArgs:
      - {index: 2, operator: Equal, values: [/usr/bin/true]}
YAML
policy lsm <<'YAML'
apiVersion: cilium.io/v1alpha1
kind: TracingPolicy
metadata:
  name: lsm
spec:
  lsmhooks:
  - hook: file_open
    args:
    - {index: 0, type: file}
    selectors:
    - matchArgs:
      - {index: 0, operator: Equal, values: [/etc/forbidden]}
      matchActions:
      - {action: Override, argError: -1}
YAML
touch /etc/watched /etc/forbidden
ferra_start --policy "$POLICIES"
expect_outcome ok write /etc/watched text
expect_outcome ok write /etc/unwatched text
expect_outcome ok setuid 1000
expect_outcome ok setuid 1600
expect_outcome ok setuid 2000
/usr/bin/true here
mkdir new
expect_status 1 mkdir new
expect_outcome EPERM read /etc/forbidden
expect_outcome ok read /etc/watched

expect_event process_kprobe.policy_name=fentries process_kprobe.function_name=security_file_permission process_kprobe.args[0].file_arg.path=/etc/watched process_kprobe.args[1].int_arg=2
expect_events 2 process_kprobe.policy_name=fentries process_kprobe.function_name=security_file_permission
expect_events 1 process_kprobe.policy_name=fentries process_kprobe.function_name=__x64_sys_setuid process_kprobe.args[0].uint_arg=1600
expect_events 2 process_kprobe.policy_name=fentries process_kprobe.function_name=__x64_sys_setuid

TRACEPOINT=process_tracepoint.policy_name=tracepoints
expect_events 1 $TRACEPOINT process_tracepoint.subsys=syscalls process_tracepoint.event=sys_enter_setuid process_tracepoint.args[0].int_arg=105 process_tracepoint.args[1].size_arg=1600
expect_events 2 $TRACEPOINT process_tracepoint.event=sys_enter_setuid
expect_event $TRACEPOINT process_tracepoint.event=sched_process_exec process_tracepoint.process.binary=/usr/bin/true "process_tracepoint.message=A program was executed"
line=$(probe lines "$EVENTS" $TRACEPOINT process_tracepoint.event=sched_process_exec process_tracepoint.process.arguments=here)
[[ $line =~ \"pid\":([0-9]+) ]]
expect_event $TRACEPOINT process_tracepoint.args[0].int_arg=${BASH_REMATCH[1]}
expect_events 1 $TRACEPOINT process_tracepoint.event=sys_exit_mkdir process_tracepoint.args[0].long_arg=-17
expect_events 1 $TRACEPOINT process_tracepoint.event=sys_exit_mkdir
expect_event process_tracepoint.policy_name=raw process_tracepoint.args[1].linux_binprm_arg.path=/usr/bin/true process_tracepoint.process.arguments=here
expect_event process_lsm.policy_name=lsm process_lsm.args[0].file_arg.path=/etc/forbidden process_lsm.action=KPROBE_ACTION_OVERRIDE
expect_events 1 process_lsm.args[0].file_arg.path=/etc/forbidden
ferra_stop
