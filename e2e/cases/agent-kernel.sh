# limit: 120
# tests: kernel_native
# What the agent's own layer over bpf(2) does, this kernel does.
agent_test kernel_native
