# limit: 120
# tests: base_start
# Processes that ran before, a full ring buffer, and what is left behind.
agent_test base_start
