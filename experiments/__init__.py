"""Experiments that outlast a lesson's minute, a command for each: `python -m experiments.NAME`."""
