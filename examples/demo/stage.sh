# Input: sourced by the walk-throughs; $SHOWN is a file that events are printed to. Output: functions that tell, do and check.
# Waiting uses no processes, as each would be an event of its own where events are watched.
shopt -s extglob
exec {NEVER}<> <(:) # nothing to read

title() { printf '\n\e[1;36m── %s\e[0m\n' "$*"; }
tell() { printf '\e[2m   %s\e[0m\n' "$*"; }
pause() { read -rt "$1" -u "$NEVER" || true; }

prompt() {
	local word words=()
	for word; do
		[[ $word != *' '* ]] || word="'$word'"
		words+=("$word")
	done
	printf '\e[1;33m$ %s\e[0m\n' "${words[*]}"
}

# try COMMAND…: shows it as typed at a prompt, runs it, and tells its exit status if it is not 0.
try() {
	local status=0
	prompt "$@"
	{ "$@" 2>&3 || status=$?; } 3>&2 2>/dev/null
	case $status in
	0) ;;
	137) tell '(exit status 137: killed)' ;;
	*) tell "(exit status $status)" ;;
	esac
}

# see GLOB…: returns when $SHOWN has lines like these, in this order, after those of the last call.
LINE=0
see() {
	local wanted index line lines limit=$((SECONDS + ${PATIENCE:-20}))
	for wanted; do
		while :; do
			mapfile -s "$LINE" -t lines <"$SHOWN"
			for index in "${!lines[@]}"; do
				line=${lines[index]//$'\e['*([0-9;])m/}
				# shellcheck disable=SC2053 # a pattern on purpose
				if [[ $line == $wanted ]]; then
					LINE=$((LINE + index + 1))
					continue 3
				fi
			done
			if ((SECONDS >= limit)); then
				echo "the walk-through is wrong: this was not printed: $wanted"
				exit 1
			fi
			pause 0.1
		done
	done
	pause 0.3 # what comes with it
}
