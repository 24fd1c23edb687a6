# Programs, their descendants and their parents, also of processes that ran before.

# files NAME FILTER CONDITION: reports reads of /tmp/watched that pass the filter.
files() {
	file_policy "$1" <<YAML
- matchArgs:
  - {index: 0, operator: Equal, values: [/tmp/watched]}
  $2:
  - {$3}
YAML
}
files in matchBinaries 'operator: In, values: [/usr/bin/probe, /usr/bin/none]'
files not-in matchBinaries 'operator: NotIn, values: [/usr/bin/probe, /usr/bin/none]'
files prefix matchBinaries 'operator: Prefix, values: [/opt/t]'
files not-prefix matchBinaries 'operator: NotPrefix, values: [/usr/, /opt/o]'
files postfix matchBinaries 'operator: Postfix, values: [tools/probe]'
files not-postfix matchBinaries 'operator: NotPostfix, values: [/probe]'
files children matchBinaries 'operator: In, values: [/opt/tools/shell], followChildren: true'
files no-children matchBinaries 'operator: NotIn, values: [/opt/tools/shell], followChildren: true'
files parent matchParentBinaries 'operator: In, values: [/opt/tools/shell]'
files not-parent matchParentBinaries 'operator: NotIn, values: [/opt/tools/shell]'

mkdir -p /opt/tools /opt/other
cp /usr/bin/probe /opt/tools/probe
cp /usr/bin/probe /opt/other/probe
cp /usr/bin/bash /opt/tools/shell
echo text >/tmp/watched
mkfifo go; exec 8<>go
# It has run, and has a child, before there is any policy.
/opt/tools/shell -c 'bash -c "read -u 8 line; /usr/bin/probe read /tmp/watched; true"; true' &
before=$!
sleep 1
ferra_start --policy "$POLICIES"

# name POLICY: the programs of its events.
name() { probe lines "$EVENTS" "process_kprobe.policy_name=$1" | sed 's/,"parent":{.*//; s/.*"binary":"\([^"]*\)".*/\1/' | sort | tr '\n' ' '; }
expect_binaries() {
	settle
	local seen
	seen=$(name "$1")
	[[ $seen == "$2" ]] || fail "policy $1 has seen $seen instead of $2"
}

expect_outcome ok read /tmp/watched
expect_status 0 /opt/tools/probe read /tmp/watched
expect_status 0 /opt/other/probe read /tmp/watched
cat /tmp/watched >/dev/null
expect_status 0 /opt/tools/shell -c 'read line </tmp/watched'
settle

# cat reads twice, a shell byte by byte.
once() { name "$1" | tr ' ' '\n' | uniq | tr '\n' ' '; }
expect_binaries in "/usr/bin/probe "
[[ $(once not-in) == "/opt/other/probe /opt/tools/probe /opt/tools/shell /usr/bin/cat " ]] || fail "not-in: $(once not-in)"
[[ $(once prefix) == "/opt/tools/probe /opt/tools/shell " ]] || fail "prefix: $(once prefix)"
[[ $(once not-prefix) == "/opt/tools/probe /opt/tools/shell " ]] || fail "not-prefix: $(once not-prefix)"
expect_binaries postfix "/opt/tools/probe "
[[ $(once not-postfix) == "/opt/tools/shell /usr/bin/cat " ]] || fail "not-postfix: $(once not-postfix)"
[[ $(once children) == "/opt/tools/shell " ]] || fail "children: $(once children)"
refuse_event process_kprobe.policy_name=parent

# Descendants, directly, through another shell, and of what ran before.
ran_before=$(name children | wc -w)
expect_status 0 /opt/tools/shell -c '/usr/bin/probe read /tmp/watched; true'
expect_binaries parent "/usr/bin/probe "
expect_status 0 /opt/tools/shell -c '/usr/bin/bash -c "/usr/bin/probe read /tmp/watched; true"; true'
expect_binaries parent "/usr/bin/probe "
echo >&8
wait $before
settle
(($(name children | wc -w) == ran_before + 3)) || fail "of descendants: $(name children)"
expect_binaries parent "/usr/bin/probe "
# Outside: the first probe, the two copies, and cat; three more came from inside.
expect_events 1 process_kprobe.policy_name=no-children process_kprobe.process.binary=/usr/bin/probe
expect_events 3 process_kprobe.policy_name=not-parent process_kprobe.process.binary=/usr/bin/probe
expect_events 4 process_kprobe.policy_name=in
ferra_stop
