"""What takes longer than a lesson's minute: `python -m experiments.stochastic_depth`."""
