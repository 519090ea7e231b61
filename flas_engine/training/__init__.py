"""From concept data to a flow checkpoint, and what became of it: training, its metrics, its evaluation, its card."""
