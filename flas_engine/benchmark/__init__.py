"""Measures the engine against plain transformers, in one run on one machine, so that ratios mean something.

Every round runs every row once, so that a machine whose speed drifts drifts under all of them; what is reported is the
median over the rounds, and of a ratio the median of each round's own. `run` puts it together; everything else here
measures one thing. Knows nothing of terminals.
"""
