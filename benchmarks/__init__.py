"""Side by side: this package and what a user would pick instead. `python -m benchmarks`."""
