"""What takes longer than a lesson's minute, a command each: `python -m experiments.NAME`."""
