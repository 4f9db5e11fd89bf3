"""Collectives in steps and rounds: who sends which chunk over which link in which step, and how long each step lasts.

Time runs in *steps*.  A chunk sent in one step can be sent on from the next.  A step lasts one *round* or more, and a
link carries so many chunks per round; so few steps mean low latency and few rounds mean high throughput.  This is
the step model of the literature on synthesised collectives (Cai et al., "Synthesizing optimal collective algorithms",
PPoPP 2021): Allgather, Gather, Scatter, Broadcast, Alltoall and whatever else chunks with holders and destinations are.

    question.py     Fabric (links and capacities), Chunks (holders, destinations), Question (steps and rounds allowed)
    collectives.py  the textbook collectives as chunks
    answer.py       Send, Answer; what is wrong with an answer; its value
    bounds.py       least steps by distance; least rounds by a cut, and by prices of links in steps
    delivery.py     the least that one chunk pays for its whole delivery at given prices
"""
