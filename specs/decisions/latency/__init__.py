"""How long users wait for the first token, and for each one after it, at a percentile of their requests.

`question` says what is asked, `prediction` answers it, `limits` turns it round: which rate or slots an SLO allows.
"""
