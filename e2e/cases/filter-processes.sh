# Process ids, namespaces and capabilities of the process that does it.

# reads NAME FILTER CONDITION: reports reads of /tmp/watched that pass the filter.
reads() {
	file_policy "$1" <<YAML
- matchArgs:
  - {index: 0, operator: Equal, values: [/tmp/watched]}
  $2:
  - {$3}
YAML
}
# by POLICY N: it has seen that many reads so far.
by() { expect_events "$2" "process_kprobe.policy_name=$1"; }

echo text >/tmp/watched
chmod 644 /tmp/watched
mkfifo go; exec 8<>go
bash -c 'read -u 8; read line </tmp/watched; /usr/bin/probe read /tmp/watched; true' &
waiting=$!
inode=$(readlink /proc/self/ns/uts | tr -dc 0-9)
reads pid matchPIDs "operator: In, values: [$waiting]"
reads family matchPIDs "operator: In, values: [$waiting], followForks: true"
reads strangers matchPIDs "operator: NotIn, values: [$waiting], followForks: true"
reads inner-pid matchPIDs 'operator: In, values: [1], isNamespacePID: true'
reads inner-family matchPIDs 'operator: In, values: [2], isNamespacePID: true, followForks: true'
reads host-mounts matchNamespaces 'namespace: Mnt, operator: In, values: [host_ns]'
reads other-mounts matchNamespaces 'namespace: Mnt, operator: NotIn, values: [host_ns]'
reads this-uts matchNamespaces "namespace: Uts, operator: In, values: [\"$inode\"]"
reads may-kill matchCapabilities 'type: Effective, operator: In, values: [CAP_KILL]'
reads may-nothing matchCapabilities 'type: Effective, operator: NotIn, values: [CAP_KILL, CAP_SYS_ADMIN]'
reads inherits matchCapabilities 'type: Inheritable, operator: In, values: [CAP_CHOWN]'
ferra_start --policy "$POLICIES"

expect_outcome ok read /tmp/watched
by pid 0; by family 0; by strangers 1; by inner-pid 0; by host-mounts 1; by other-mounts 0; by this-uts 1; by may-kill 1; by may-nothing 0; by inherits 0

# The shell's read takes one call for each byte.
echo >&8
wait $waiting
expect_events 1 process_kprobe.policy_name=family process_kprobe.process.binary=/usr/bin/probe
expect_event process_kprobe.policy_name=pid process_kprobe.process.pid=$waiting
refuse_event process_kprobe.policy_name=pid process_kprobe.process.binary=/usr/bin/probe
by strangers 1

unshare -m /usr/bin/probe read /tmp/watched
by other-mounts 1; by strangers 2
expect_events 2 process_kprobe.policy_name=host-mounts process_kprobe.process.binary=/usr/bin/probe
unshare -u /usr/bin/probe read /tmp/watched
expect_events 3 process_kprobe.policy_name=host-mounts process_kprobe.process.binary=/usr/bin/probe
expect_events 3 process_kprobe.policy_name=this-uts process_kprobe.process.binary=/usr/bin/probe
unshare -p -f /usr/bin/probe read /tmp/watched
by inner-pid 1; by may-nothing 0
setpriv --inh-caps +chown /usr/bin/probe read /tmp/watched
by inherits 1; by may-nothing 0
start-stop-daemon -S -c 1000:1000 -x /usr/bin/probe -- read /tmp/watched
expect_events 1 process_kprobe.policy_name=may-nothing process_kprobe.process.binary=/usr/bin/probe
expect_events 6 process_kprobe.policy_name=may-kill process_kprobe.process.binary=/usr/bin/probe
by inner-family 0
unshare -p -f bash -c '/usr/bin/bash -c "/usr/bin/probe read /tmp/watched; true"; true'
expect_events 1 process_kprobe.policy_name=inner-family process_kprobe.process.binary=/usr/bin/probe
ferra_stop
