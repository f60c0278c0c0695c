"""Side by side: this package and what a user might pick instead. `python -m benchmarks`."""
