# A path of many components is whole; one of more than can be followed is reported with a flag, never as another path.
policy deep <<'YAML'
apiVersion: cilium.io/v1alpha1
kind: TracingPolicy
metadata:
  name: deep
spec:
  kprobes:
  - call: security_file_permission
    syscall: false
    args:
    - {index: 0, type: file}
    - {index: 1, type: int}
    selectors:
    - matchBinaries:
      - {operator: In, values: [/usr/bin/probe]}
      matchArgs:
      - {index: 1, operator: Equal, values: ["2"]}
YAML
# below COUNT DIR: makes that many directories in each other, and a file in the last; prints the file's path.
below() {
	local path=$2
	for ((n = 0; n < $1; n++)); do path=$path/${3:-a-directory-with-a-long-name}; done
	mkdir -p "$path"
	echo "$path/file"
}
whole=$(below 40 /etc/deep)
cut=$(below 400 /etc/far d)
ferra_start --policy "$POLICIES"
expect_outcome ok write "$whole" text
expect_outcome ok write "$cut" text
FILE=process_kprobe.args[0].file_arg
expect_event "$FILE.path=$whole" "$FILE.flags!=unresolvedPathComponents"
expect_event "$FILE.path\$=/d/d/d/file" "$FILE.flags=unresolvedPathComponents"
refuse_event "$FILE.path=$cut" "$FILE.flags!=unresolvedPathComponents"
ferra_stop
