"""The terminal front end of flas-tui: the command line and the Textual app, over `flas_engine`."""
