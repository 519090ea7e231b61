"""The engine of flas-tui: steered generation with flow-based activation steering (FLAS), as a library.

Everything that makes tokens lives here and knows nothing of terminals. Importing the package is cheap: torch and
transformers are imported when an engine is loaded.
"""
