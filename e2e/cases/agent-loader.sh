# limit: 120
# cpus: 2
# tests: loader_native
# The loader swaps and removes programs, and counts the processes that its sets hold for.
agent_test loader_native
