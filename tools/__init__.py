"""What authors run, each as `python -m tools.NAME`; `--help` says how."""
