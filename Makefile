# make demo: over a thousand trials, their MLflow runs and the figure, from nothing.   make test: is this copy sound?
# Both set everything up first; to repeat them is quick.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
export PLIANT_STORAGE ?= $(CURDIR)/pliant

.PHONY: demo test slow lint bench clean install

install: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Pliant needs Python 3.11 or newer")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

demo: install
	$(BIN)/sweep run demo
	@if $(BIN)/sweep data fetch mnist; then scale=laptop; \
	elif $(BIN)/sweep data fetch fashion_mnist; then scale=fashion_mnist; else scale=digits; fi; \
	test $$scale = laptop || echo "MNIST cannot be had here: the image sweep trains on $$scale instead"; \
	$(BIN)/sweep run demo_mnist --scale $$scale
	@echo
	@echo "Browse the runs:  $(BIN)/sweep ui demo --storage $(PLIANT_STORAGE)"
	@$(BIN)/sweep results demo@laptop

test: install
	$(BIN)/pytest -n 2 --durations=15

slow: install
	$(BIN)/pytest -m 'slow and cluster' --durations=15
	$(BIN)/pytest -m 'slow and not cluster' -n 2 --dist worksteal --durations=15

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: install
	$(BIN)/sweep bench

clean:
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache
	find . -name __pycache__ -prune -exec rm -rf {} +
