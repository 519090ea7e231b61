"""The terminal front end of flas-tui: the command line and the Textual app, over `flas_engine`."""

import os

# Textual reads this when it is imported. Its clock paints up to two periods after a change: at its usual 60 a second a
# key press while text streams is painted in up to 50 ms, at 120 in up to 35. Frames are drawn only when something
# changed, so streaming costs the same.
os.environ.setdefault("TEXTUAL_FPS", "120")
