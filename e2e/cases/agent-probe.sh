# limit: 120
# tests: probe_native
# What the probe says of this kernel is what other sources say.
agent_test probe_native
