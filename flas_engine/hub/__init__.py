"""Which models there are, and how their files come to this machine: catalog, downloads, the embedded models.

Knows nothing of tensors beyond their files, and nothing of flows beyond their names.
"""
