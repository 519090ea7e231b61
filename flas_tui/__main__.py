"""`python -m flas_tui` is `flas-tui`."""

from __future__ import annotations

from flas_tui.cli import main

if __name__ == "__main__":
    main()
