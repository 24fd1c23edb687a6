# limit: 120
# tests: flavours
# Each way to attach that this kernel has loads, is called, enforces, is replaced without a gap, and goes.
agent_test flavours
