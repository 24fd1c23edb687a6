# limit: 300
# Policies on one hook are added, edited and removed while the hook is hammered. The guard never lets a write through,
# and the watch reports each of its writes once.
mkdir -p /etc/break-guarded /etc/break-watched
echo old >/etc/break-guarded/file

on_write() {
	local name=$1 prefix=$2 action=$3 comment=${4:-}
	policy "$name" <<YAML
apiVersion: cilium.io/v1alpha1
kind: TracingPolicy
metadata:
  name: $name
spec:
  kprobes:
  - call: security_file_permission
    syscall: false
    message: "$name $comment"
    args:
    - index: 0
      type: file
    - index: 1
      type: int
    selectors:
    - matchArgs:
      - index: 0
        operator: Prefix
        values: [$prefix]
      - index: 1
        operator: Equal
        values: ["2"]
      matchActions:
      - $action
YAML
}
updates=0
updated() {
	updates=$((updates + 1))
	eventually 60 eval '(($(grep -c "^ferra: updated" "$SAID") >= updates))' || fail "update $updates was not made within 60 s"
}

# No events of the guard: the hammer would fill any buffer.
guard='{action: Override, argError: -1}
      - action: NoPost'
on_write guard /etc/break-guarded/ "$guard"
on_write watch /etc/break-watched/ 'action: Post'
ferra_start --policy "$POLICIES"
probe hammer "$CASE/stop" write /etc/break-guarded/file new >guarded &
guarded=$!
{
	writes=0
	until [[ -e $CASE/stop ]]; do
		probe write /etc/break-watched/file "$writes" >>watched
		writes=$((writes + 1))
	done
	echo "$writes" >writes
} &
watched=$!

for round in 1 2; do
	# A third policy comes, changes and goes.
	on_write other /etc/other/ 'action: Sigkill' "$round"
	updated
	on_write other /etc/others/ 'action: Post' "$round"
	updated
	# The guard itself is edited.
	on_write guard /etc/break-guarded/ "$guard" "edited $round"
	updated
	rm "$POLICIES/other.yaml"
	updated
done
# A broken edit leaves the last good version in force, and says so.
echo 'spec: [' >"$POLICIES/guard.yaml"
updated
expect_text "$SAID" 'guard.yaml.*the last good version stays in force'
sed -i 's/security_file_permission/security_file_permision/' "$POLICIES/watch.yaml"
updated
expect_text "$SAID" 'did you mean .security_file_permission'
touch "$CASE/stop"
wait "$guarded" "$watched" || true

grep -Eq '^EPERM=[1-9][0-9]*$' guarded || fail "a guarded write was let through: $(cat guarded)"
[[ $(sort -u watched) == ok ]] || fail "a watched write was hindered: $(sort watched | uniq -c)"
[[ $(cat /etc/break-guarded/file) == old ]] || fail "the guarded file was changed"
expect_events "$(cat writes)" process_kprobe.policy_name=watch
ferra_stop
# Old and new programs have shared the calls: none was judged twice.
refused=$(sed 's/EPERM=//' guarded)
expect_text "$SAID" "policy guard: $refused matched, 0 posted, 0 signalled, $refused overridden"
expect_text "$SAID" "policy watch: $(cat writes) matched, $(cat writes) posted"
expect_outcome ok write /etc/break-guarded/file new
