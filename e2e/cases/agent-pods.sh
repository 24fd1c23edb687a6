# limit: 120
# tests: pods
# Policies for pods: by cgroups as a kubelet makes them, without Kubernetes.
agent_test pods
