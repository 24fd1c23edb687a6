# What a process writes and reads: at entry by the length it passes, at return by how much there was.
policy buffers <<'YAML'
apiVersion: cilium.io/v1alpha1
kind: TracingPolicy
metadata:
  name: buffers
spec:
  kprobes:
  - call: sys_read
    syscall: true
    return: true
    args:
    - {index: 0, type: fd}
    - {index: 1, type: char_buf, returnCopy: true}
    - {index: 2, type: size_t}
    returnArg: {index: 0, type: long}
    selectors:
    - matchArgs:
      - {index: 0, operator: Prefix, values: [/tmp/read-]}
  - call: sys_write
    syscall: true
    args:
    - {index: 1, type: char_buf, sizeArgIndex: 3}
    - {index: 0, type: fd}
    selectors:
    - matchArgs:
      - {index: 1, operator: Prefix, values: ["seen:"]}
    - matchArgs:
      - {index: 0, operator: Equal, values: [/tmp/written]}
YAML
echo -n 'what is read' >/tmp/read-here
: >/tmp/read-nothing
ferra_start --policy "$POLICIES"
BUFFER=process_kprobe.args[1]
expect_outcome ok read /tmp/read-here
expect_outcome ok read /tmp/read-nothing
expect_event process_kprobe.function_name=__x64_sys_read "$BUFFER.bytes_arg=$(echo -n 'what is read' | base64)" process_kprobe.args[2].size_arg=64 process_kprobe.return.long_arg=12
expect_events 1 process_kprobe.args[0].file_arg.path=/tmp/read-nothing process_kprobe.return.long_arg=0 process_kprobe.args[2].size_arg=64
expect_events 2 process_kprobe.function_name=__x64_sys_read

BUFFER=process_kprobe.args[0]
expect_outcome ok write /tmp/other seen:text
expect_outcome ok write /tmp/other text:seen:
expect_outcome ok write /tmp/other see
expect_events 1 process_kprobe.function_name=__x64_sys_write "$BUFFER.bytes_arg=$(echo -n seen:text | base64)" process_kprobe.args[1].file_arg.path=/tmp/other
expect_events 1 process_kprobe.args[1].file_arg.path=/tmp/other

# At most 4095 bytes of it, and how many there were.
long=$(head -c 6000 /dev/zero | tr '\0' x)
expect_outcome ok write /tmp/written "$long"
expect_outcome ok write /tmp/written "${long:0:4095}"
expect_events 1 "$BUFFER.truncated_bytes_arg.bytes_arg=$(echo -n "${long:0:4095}" | base64 -w 0)" "$BUFFER.truncated_bytes_arg.orig_size=6000"
expect_events 1 "$BUFFER.bytes_arg=$(echo -n "${long:0:4095}" | base64 -w 0)"
ferra_stop
