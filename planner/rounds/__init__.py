"""Search for collectives in steps and rounds; the question itself is `specs.decisions.rounds`.

encoding.py    the CP-SAT formulation, and its answer read back as sends
relaxation.py  prices of links in steps, from a linear program; the checker works out what they prove
deliveries.py  prices of shared capacities, from whole deliveries where flows that split see too little
cuts.py        sets of nodes that too many chunks must enter
schedule.py    is there a schedule; the least rounds in so many steps
frontier.py    the fewest rounds for every number of steps
pipeline.py    broadcast of many chunks along arborescences that share no capacity
"""
