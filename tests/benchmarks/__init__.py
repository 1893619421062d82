"""What `scripts/bench` measures, and how. docs/benchmarks.md says how to read it."""
