# The other examples: setuid, raw system calls, an LSM hook (fmod_ret where BPF is no active LSM), writes to a descriptor.
echo secret >/etc/shadow; chmod 600 /etc/shadow
cp /root/examples/policies/{setuid,raw-syscalls,lsm-file-open,write-fd}.yaml "$POLICIES"
ferra_start --policy "$POLICIES"
expect_outcome ok setuid 0
expect_outcome ok setuid 1000
expect_events 1 process_kprobe.policy_name=setuid process_kprobe.args[0].int_arg=0 process_kprobe.args[0].label=uid process_kprobe.function_name=__x64_sys_setuid
expect_events 1 process_kprobe.policy_name=setuid

# Once a second for each process.
[[ $(probe repeat 5 load-module) == ENOEXEC=5 ]] || fail "an empty module is loaded"
expect_event process_tracepoint.policy_name=raw-syscalls process_tracepoint.subsys=raw_syscalls process_tracepoint.event=sys_enter process_tracepoint.args[0].syscall_id.id=175 process_tracepoint.args[0].syscall_id.abi=x64
expect_events 1 process_tracepoint

expect_outcome ok read /etc/shadow
expect_event process_lsm.policy_name=lsm-file-open process_lsm.function_name=file_open process_lsm.args[0].file_arg.path=/etc/shadow process_lsm.process.binary=/usr/bin/probe
refuse_event process_lsm.args[0].file_arg.path!=/etc/shadow process_lsm

probe write-fd 2 to-standard-error >/dev/null
expect_outcome ok write-fd 9 other
text=$(printf to-standard-error | base64)
expect_event process_kprobe.policy_name=write-fd process_kprobe.args[0].int_arg=2 process_kprobe.args[1].bytes_arg=$text process_kprobe.args[2].size_arg=17
refuse_event process_kprobe.policy_name=write-fd process_kprobe.args[0].int_arg!=2
ferra_stop
