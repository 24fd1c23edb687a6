# limit: 120
# tests: base_places
# Processes: working directories, roots and namespaces.
agent_test base_places
