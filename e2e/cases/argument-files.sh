# What names a file, in each shape that the kernel passes it: names, paths, directory entries, programs, descriptors.

# Linux 7 has another name for it.
open=do_filp_open
grep -q ' do_file_open$' /proc/kallsyms && open=do_file_open
policy names <<YAML
apiVersion: cilium.io/v1alpha1
kind: TracingPolicy
metadata:
  name: names
spec:
  kprobes:
  - call: $open
    syscall: false
    args:
    - {index: 0, type: int}
    - {index: 1, type: filename}
    selectors:
    - matchBinaries:
      - {operator: In, values: [/usr/bin/probe]}
  - call: sys_mkdir
    syscall: true
    return: true
    args:
    - {index: 0, type: string}
    returnArg: {index: 0, type: int}
    selectors:
    - matchArgs:
      - {index: 0, operator: Postfix, values: [/by-name]}
  - call: security_path_mkdir
    syscall: false
    args:
    - {index: 0, type: path}
    - {index: 1, type: dentry}
    - {index: 2, type: uint16, label: mode}
    selectors:
    - matchArgs:
      - {index: 0, operator: Equal, values: [/tmp/mounted/made]}
      - {index: 1, operator: NotPostfix, values: [/unseen]}
  - call: security_inode_unlink
    syscall: false
    args:
    - {index: 1, type: dentry}
    selectors:
    - matchArgs:
      - {index: 1, operator: Prefix, values: [/made/]}
  - call: security_bprm_check
    syscall: false
    args:
    - {index: 0, type: linux_binprm}
    selectors:
    - matchArgs:
      - {index: 0, operator: Equal, values: [/tmp/mounted/made/true]}
  - call: sys_read
    syscall: true
    args:
    - {index: 0, type: fd}
    selectors:
    - matchArgs:
      - {index: 0, operator: Equal, values: [/tmp/mounted/made/file]}
YAML
mkdir -p /tmp/mounted
mount -t tmpfs none /tmp/mounted
mkdir /tmp/mounted/made
ferra_start --policy "$POLICIES"
mkdir /tmp/mounted/made/by-name
mkdir -m 700 /tmp/mounted/made/unseen
expect_status 1 mkdir /tmp/mounted/made/by-name
echo text >/tmp/mounted/made/file
expect_outcome ok read /tmp/mounted/made/file
expect_outcome ENOENT read made/../none
cp /usr/bin/true /tmp/mounted/made/true
chmod 4755 /tmp/mounted/made/true
/tmp/mounted/made/true
rm /tmp/mounted/made/file /tmp/mounted/made/true

expect_event process_kprobe.function_name=$open process_kprobe.args[0].int_arg=-100 process_kprobe.args[1].string_arg=made/../none
expect_event process_kprobe.function_name=$open process_kprobe.args[1].string_arg=/tmp/mounted/made/file
expect_events 1 process_kprobe.function_name=__x64_sys_mkdir process_kprobe.args[0].string_arg=/tmp/mounted/made/by-name process_kprobe.return.int_arg=0
expect_events 1 process_kprobe.function_name=__x64_sys_mkdir process_kprobe.return.int_arg=-17
expect_events 2 process_kprobe.function_name=__x64_sys_mkdir

# A directory entry is named within its mount, a path is not.
expect_event process_kprobe.function_name=security_path_mkdir process_kprobe.args[0].path_arg.path=/tmp/mounted/made process_kprobe.args[1].path_arg.path=/made/by-name process_kprobe.args[2].label=mode process_kprobe.args[2].uint_arg=511
refuse_event process_kprobe.function_name=security_path_mkdir process_kprobe.args[1].path_arg.path=/made/unseen
expect_events 1 process_kprobe.function_name=security_inode_unlink process_kprobe.args[0].path_arg.path=/made/file
expect_events 1 process_kprobe.function_name=security_inode_unlink process_kprobe.args[0].path_arg.path=/made/true

expect_events 1 process_kprobe.function_name=security_bprm_check process_kprobe.args[0].linux_binprm_arg.path=/tmp/mounted/made/true process_kprobe.args[0].linux_binprm_arg.permission=-rwsr-xr-x
expect_events 1 process_kprobe.function_name=__x64_sys_read process_kprobe.args[0].file_arg.path=/tmp/mounted/made/file
expect_events 1 process_kprobe.function_name=__x64_sys_read
ferra_stop
