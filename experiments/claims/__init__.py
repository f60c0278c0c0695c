"""Do the paper's claims hold at course scale? `python -m experiments.claims` (lesson 11).

`parts.py` says what is asked, and with which runs; start reading there.
"""
