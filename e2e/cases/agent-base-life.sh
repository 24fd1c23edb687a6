# limit: 120
# tests: base_life
# Processes: exec, fork, exit, threads, as they are told.
agent_test base_life
