# Thin: an environment, then `qmlbook`. For GNU make; README.md has the same steps without make.

# The first supported Python on the path; `make PYTHON=/path/to/python` takes another.
PYTHON ?= $(firstword $(foreach name,python3.11 python3.12 python3.13 python3 python,$(shell \
  $(name) -c 'import sys; (3, 11) <= sys.version_info < (3, 14) and print("$(name)")' \
  2>/dev/null)))
UV ?= uv
# Relative, like every path here: the folder of the checkout may have any name.
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# Four processes keep two cores busy, since tests also wait; files of tests stay whole, so that what
# a file makes once is made once.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 4 --dist loadfile --no-loadscope-reorder
PIP_ARGS ?=
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIP_ARGS)

.PHONY: book test test-all contracts determinism bench shootout evidence readme release clean lock

# Runs the chapters that changed, builds the pages, says where they are.
book: $(READY)
	@$(BIN)/qmlbook build

# Everything that a change must keep.
test: contracts
	@echo "== book"
	@$(BIN)/qmlbook build
	@echo "== chapters, compared with their references"
	@$(BIN)/qmlbook check
	@echo "== library, chapter pipeline, environment and pages"
	@$(PYTEST) -m "not nightly"

# And what takes long and seldom tells more, every night: each cell run again by nbval, every
# notebook graded, each page in both themes at both widths.
test-all: test
	@echo "== references, run again by nbval"
	@$(BIN)/qmlbook check --nbval
	@echo "== the long tail"
	@$(PYTEST) -m nightly

# What tools can tell without running anything: style, floors and circles of imports, types, and
# code that nothing uses.
contracts: $(READY)
	@echo "== contracts"
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --quiet --check .
	@said=$$($(BIN)/lint-imports --no-logo --no-cache) || { echo "$$said"; exit 1; }
	@$(BIN)/python scripts/unused.py
	@$(BIN)/mypy --no-error-summary

# The references again, on other code paths of torch and with other numbers of threads:
# `make determinism CHAPTERS="evidence klssl"` for some of them. Two cores are enough: chapters
# of one thread run side by side, those of two threads one by one.
determinism: $(READY)
	@failed=; for cpu in default avx2; do for threads in 1 2; do \
	  setting="ATEN_CPU_CAPABILITY=$$cpu OMP_NUM_THREADS=$$threads MKL_NUM_THREADS=$$threads"; \
	  echo "== $$setting"; \
	  env $$setting $(BIN)/qmlbook check --nbval --jobs $$((3 - threads)) $(CHAPTERS) || failed="$$failed, $$cpu $$threads"; \
	done; done; test -z "$$failed" || { echo "Not the same with$${failed#,}"; exit 1; }

# The library's speed beside what one would use instead.
bench: $(READY)
	@$(BIN)/python -m pytest -q benchmarks --benchmark-only

# Our device beside a dozen other programs, an environment for each; goes on where it stopped.
# `make shootout SHOOTOUT="--home FOLDER"` keeps environments and results elsewhere.
shootout: $(READY)
	@$(BIN)/python benchmarks/shootout/run.py --record data/benchmarks/shootout.json $(SHOOTOUT)

# All full-profile sweeps; what is stored is not run again, and an interruption loses nothing.
evidence: $(READY)
	@set -e; for paper in $$($(BIN)/python -c \
	  "from qmlbook import papers; print(*filter(papers.experiments, papers.names()))"); do \
	  echo "== $$paper"; $(BIN)/qmlbook sweep $$paper; done

# The README's table of papers, from the records.
readme: $(READY)
	@$(BIN)/python -c "import pathlib; from qmlbook.book import verdict_pages; \
	  page = pathlib.Path('README.md'); page.write_text(verdict_pages.with_papers_table(page.read_text()))"

# Wheel, source distribution, pages, PDF, records, bill of materials and their checksums in one new
# folder: `make release TO=dist/0.1.0`. scripts/release.py says what it needs besides.
TO ?= dist/release
release: $(READY)
	@$(BIN)/python scripts/release.py "$(TO)"

clean:
	rm -rf _build .pytest_cache .ruff_cache .mypy_cache .hypothesis .benchmarks

$(READY): requirements.lock requirements-torch.lock pyproject.toml
	$(if $(PYTHON),,$(error No Python 3.11, 3.12 or 3.13 found; install one or name it: make PYTHON=/path/to/python))
	@test -x $(BIN)/pip || "$(PYTHON)" -m venv --clear $(VENV)
	@echo "== installing $$(grep -c == requirements.lock) packages into $(VENV), some minutes the first time"
	@$(PIP) --no-deps --require-hashes -r requirements.lock
	@$(PIP) -r requirements-torch.lock
	@$(PIP) --no-deps --no-build-isolation -e .
	@touch $@

# Versions for what pyproject.toml asks for, keeping those that still fit, with hashes. Needs uv.
lock:
	@"$(PYTHON)" scripts/lock.py "$(UV)"
