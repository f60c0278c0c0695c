"""What the command line can do: a file for each command, each with `add` and `run`."""
