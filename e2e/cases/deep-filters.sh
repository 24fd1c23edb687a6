# The missing start of a path that is too deep is never taken for what a policy names.

# writes NAME FILTER…: reports what is written, if it passes the filters.
writes() {
	file_policy "$1" <<YAML
- matchBinaries:
  - {$2}
  matchArgs:
  - {index: 1, operator: Equal, values: ["2"]}
${3:+  - {index: 0, $3\}}
YAML
}
PROBE='operator: In, values: [/usr/bin/probe]'
# What is left of the path begins so.
writes start "$PROBE" 'operator: Prefix, values: [/d/d/]'
writes not-start "$PROBE" 'operator: NotPrefix, values: [/d/d/]'
writes end "$PROBE" 'operator: Postfix, values: [/d/d/file]'
writes binary-start 'operator: Prefix, values: [/e/e/]'
writes binary-end 'operator: Postfix, values: [/e/e/probe]'

# below COUNT DIR: makes that many directories in each other, and a file in the last; prints the file's path.
below() {
	local path=$2
	for ((n = 0; n < $1; n++)); do path=$path/$3; done
	mkdir -p "$path"
	echo "$path/file"
}
near=$(below 1 /etc/near d)
cut=$(below 400 /etc/far d)
far_probe=$(below 300 /opt/far e)
far_probe=${far_probe%/file}/probe
cp /usr/bin/probe "$far_probe"
ferra_start --policy "$POLICIES"
expect_outcome ok write "$near" text
expect_outcome ok write "$cut" text
FILE=process_kprobe.args[0].file_arg
POLICY=process_kprobe.policy_name
refuse_event "$POLICY=start"
expect_event "$POLICY=not-start" "$FILE.path\$=/d/d/d/file"
expect_event "$POLICY=not-start" "$FILE.path=$near"
expect_event "$POLICY=end" "$FILE.path\$=/d/d/d/file"
refuse_event "$POLICY=end" "$FILE.path=$near"
expect_status 0 "$far_probe" write /tmp/near text
expect_event "$POLICY=binary-end" "$FILE.path=/tmp/near"
refuse_event "$POLICY=binary-start"
ferra_stop
