# On a fresh machine with Python 3.10 or newer, a C++ compiler, cmake and make, each target sets up what it needs.
# `make` lists the targets.
# What the environment is made of stays as it is until something else is named: its Python, and without a sourced ROS 2
# the distribution (jazzy or kilted) whose client library comes from PyPI.
PYTHON3 ?= $(if $(ROS_DISTRO),python3,$(firstword $(wildcard .venv/bin/python) python3))
ROS_WHEELS ?= $(or $(word 3,$(subst -, ,$(notdir $(wildcard .venv/.ready-wheels-*)))),jazzy)
export ROS_WHEELS
PYTHON := .venv/bin/python
VERSION := $(shell $(PYTHON3) -c 'import sys; print("%d.%d" % sys.version_info[:2])')
READY := .venv/.ready-$(or $(ROS_DISTRO),wheels-$(ROS_WHEELS))-$(VERSION)
TRAINED := .venv/.ready-training
# of `make test`: one more than there are processors, since many tests wait; four at most
TEST_PROCESSES ?= $(shell expr $$(getconf _NPROCESSORS_ONLN) + 1)
# one thread each for BLAS, OpenMP and OpenCV: several would wait for each other's processors
ONE_THREAD = OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 OPENCV_FOR_THREADS_NUM=1
PYTEST = $(ONE_THREAD) $(PYTHON) -m pytest --numprocesses=$(TEST_PROCESSES) --maxprocesses=4 --dist=loadfile \
    --no-loadscope-reorder --max-worker-restart=2

# The libraries of this environment; a library path of another environment must not be used.
export LD_LIBRARY_PATH := $(CURDIR)/.venv/lib$(if $(LD_LIBRARY_PATH),:$(LD_LIBRARY_PATH))
export AMENT_PREFIX_PATH := $(CURDIR)/.venv$(if $(AMENT_PREFIX_PATH),:$(AMENT_PREFIX_PATH))
unexport _ROS_WHEELS_BOOTSTRAP_COMPLETE
# tests start many processes: the code of this checkout is compiled once, not in each of them
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help setup training engines everything demo test test-all faults lint bench figures soak clean

help:
	@echo "make setup   environment .venv with everything in it (once, one to two minutes, 1.5 GB)"
	@echo "make training  adds PyTorch to it, for training/ and its tests (once; gigabytes)"
	@echo "make engines  adds TensorRT-RTX to it, whose engines the tests build without a GPU (once; 93 MB, x86)"
	@echo "make everything  all three, in less time than one after the other"
	@echo "make demo    map a simulated building, localize in it, show the report"
	@echo "make test    the quick tests; with another Python and other wheels: PYTHON3=python3.12 ROS_WHEELS=kilted"
	@echo "make test-all  all tests but the slow faults, as CI runs them"
	@echo "make faults  inject faults: all fault tests, and docs/faults.md from what they observed"
	@echo "make lint    ruff, ruff format, mypy"
	@echo "make bench   measure the quick sections of BENCHMARK.md (half an hour); others with SECTIONS=\"castle growth\""
	@echo "make figures  fill BENCHMARK.md, README.md and docs/ from docs/benchmark/*.json, draw the plots"
	@echo "make soak    twenty minutes at 30 Hz: do the nodes keep their memory?"
	@echo "make clean   remove the environment and what was built"

setup: $(READY)

# The stamp is written last: an interrupted set-up starts again.
$(READY): setup.py tools/setup_environment.py $(shell find vloc_msgs tools/wheel_ros -type f -not -path '*/build/*' -not -path '*.egg-info/*' -not -path '*/__pycache__/*')
	@rm -f .venv/.ready*
	@$(PYTHON3) tools/setup_environment.py
	@touch $@

training: $(TRAINED)

$(TRAINED): $(READY)
	@$(PYTHON3) tools/setup_environment.py --training
	@touch $@

engines: $(READY)
	@$(PYTHON3) tools/setup_environment.py --engines

# what takes the processors and what waits for the network at once
everything:
	@rm -f .venv/.ready*
	@$(PYTHON3) tools/setup_environment.py --everything
	@touch $(READY) $(TRAINED)

demo: $(READY)
	.venv/bin/vloc demo

# each file on one of the processes, so that what its tests share is made once; files in order, the longest are early
test: $(READY)
	$(PYTEST)

test-all: $(READY)
	$(PYTEST) -m "not slow_fault"

faults: $(READY)
	$(ONE_THREAD) $(PYTHON) -m pytest test/faults -m fault --faults-page docs/faults.md

lint: $(READY)
	$(PYTHON) -m ruff check
	$(PYTHON) -m ruff format --check
	$(PYTHON) -m mypy

bench: $(READY)
	PYTHONPATH="$(CURDIR)$(if $(PYTHONPATH),:$(PYTHONPATH))" $(PYTHON) tools/bench.py $(SECTIONS)$(if $(FORCE), --force)

figures: $(READY)
	$(PYTHON) tools/fill_figures.py

soak: $(READY)
	$(PYTHON) tools/soak.py

clean:
	rm -rf .venv build
