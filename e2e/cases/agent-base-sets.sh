# limit: 120
# tests: base_sets
# Processes: the sets of binaries and pids that they are in.
agent_test base_sets
