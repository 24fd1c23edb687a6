# What `make demo` shows, with its own checks.
exec bash "$ROOT/examples/demo/cluster.sh"
