"""Evaluation: what a flow writes for concepts and prompts under every flow time, and what becomes of it."""
