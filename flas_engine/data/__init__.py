"""Training data: rows of (prompt, output, concept) read, looked at, fetched and made. Knows nothing of training."""
