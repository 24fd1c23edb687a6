# A path of many components is whole; one of more than can be followed is reported with a flag, never as another path.
file_policy deep <<'YAML'
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
