"""Judges of generations: a model that is asked by a rubric, and one that needs no network."""
