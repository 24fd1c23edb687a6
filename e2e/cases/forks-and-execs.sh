# limit: 300
# Forks and execs in a hurry on one CPU, where tasks are preempted wherever they can be: each process is in the sets of
# its binary from its first call on.
mkdir -p /etc/forked /opt/tools
cp /usr/bin/probe /opt/tools/probe
echo old >/etc/forked/file
echo old >/etc/forked/other

# guarded NAME FILE BINARY: refuses writes to the file by the binary.
guarded() {
	file_policy "$1" <<YAML
- matchArgs:
  - {index: 0, operator: Equal, values: [$2]}
  - {index: 1, operator: Equal, values: ["2"]}
  matchBinaries:
  - {operator: In, values: [$3]}
  matchActions:
  - {action: Override, argError: -1}
  - {action: NoPost}
YAML
}
guarded forked /etc/forked/file /usr/bin/bash
guarded executed /etc/forked/other /opt/tools/probe
ferra_start --policy "$POLICIES"

rounds=200
hammer_forks() {
	for ((i = 0; i < rounds; i++)); do
		(echo new >>/etc/forked/file) 2>/dev/null && echo forked >>through
	done
	true
}
hammer_execs() {
	for ((i = 0; i < rounds; i++)); do
		[[ $(/opt/tools/probe write /etc/forked/other new) == EPERM ]] || echo executed >>through
	done
	true
}
: >through
hammers=()
for _ in 1 2 3; do
	hammer_forks &
	hammers+=($!)
	hammer_execs &
	hammers+=($!)
done
wait "${hammers[@]}"
[[ ! -s through ]] || fail "writes by processes in no set got through: $(sort through | uniq -c | tr '\n' ' ')"
[[ $(cat /etc/forked/file) == old ]] || fail "the file has been written to"
ferra_stop
