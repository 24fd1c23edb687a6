# Input: /root/bench/plan, a line for each set of policies: its name, the folder of its policies or -, OPERATION=COUNT words.
# Output: lines of figures on stdout: `op SET OPERATION INSTRUCTIONS`, `SET`'s costs, and what ferra said, as `said SET TEXT`.
set -u
mkdir -p /tmp/out
# How many page tables a fork copies depends on where things are.
echo 0 >/proc/sys/kernel/randomize_va_space
echo "some text to read" >/etc/bench-file
mkdir -p /usr/share/bench
cp /etc/bench-file /usr/share/bench/file
cp /etc/bench-file /tmp/bench-file

# start FOLDER: ferra as `run` starts it, with all policies of the folder.
start() {
	: >/tmp/out/said
	ferra run -o json --policy "$1" >/tmp/out/events 2>/tmp/out/said &
	ferra=$!
	until grep -q '^ferra: ready' /tmp/out/said; do
		kill -0 $ferra || { cat /tmp/out/said >&2; exit 1; }
		sleep 0.1
	done
	sleep 1
}

stop() {
	kill -INT $ferra
	wait $ferra
	sed "s/^/said $1 /" /tmp/out/said
	sleep 0.5
}

# inside OPERATION COUNT: instructions of ferra's programs per operation. `workload run` does a quarter round more than
# three, to get warm.
inside() {
	echo 1 >/proc/sys/kernel/bpf_stats_enabled
	local before=$(workload programs $ferra)
	workload run "$1" "$2" >/dev/null
	local after=$(workload programs $ferra)
	echo 0 >/proc/sys/kernel/bpf_stats_enabled
	echo $(((after - before) / ($2 * 3 + ($2 + 3) / 4)))
}

while read -r set folder operations; do
	echo "progress $set"
	[ "$folder" = - ] || {
		start "$folder"
		echo "cpu $set $(workload cpu $ferra)"
		echo "memory $set $(workload memory $ferra)"
	}
	for word in $operations; do
		operation=${word%=*}
		count=${word#*=}
		case $operation in
		event) figure=$(workload event $ferra /tmp/out/events "$count") ;;
		in-*) operation=${operation#in-} && echo "in $set $operation $(inside "$operation" "$count")" && continue ;;
		*) figure=$(workload run "$operation" "$count") ;;
		esac && echo "op $set $operation $figure"
	done
	[ "$folder" = - ] || {
		echo "rss $set $(workload rss $ferra)"
		stop "$set"
	}
done </root/bench/plan
