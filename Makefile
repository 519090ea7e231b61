# What a change has to pass. `make check` uses the Python of the active environment.
.PHONY: check lint types test

check: lint types test

lint:
	ruff check
	ruff format --check

types:
	mypy

test:
	pytest -n 2 --dist loadfile
