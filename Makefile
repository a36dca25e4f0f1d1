# On a fresh machine with Python 3.10 or newer, a C++ compiler, cmake and make, each target alone is enough:
# it sets up what it needs. `make` lists them.
PYTHON3 ?= python3
PYTHON := .venv/bin/python
# of what the environment is made on: with or without a sourced ROS 2 it is another one
READY := .venv/.ready-$(or $(ROS_DISTRO),wheels)
TRAINED := .venv/.ready-training

# The environment's own libraries; a library path that another environment computed must not be taken for ours.
export LD_LIBRARY_PATH := $(CURDIR)/.venv/lib$(if $(LD_LIBRARY_PATH),:$(LD_LIBRARY_PATH))
export AMENT_PREFIX_PATH := $(CURDIR)/.venv$(if $(AMENT_PREFIX_PATH),:$(AMENT_PREFIX_PATH))
unexport _ROS_WHEELS_BOOTSTRAP_COMPLETE

.PHONY: help setup training demo test faults lint bench soak clean

help:
	@echo "make setup   environment .venv with everything in it (once, one to two minutes, 1.2 GB)"
	@echo "make training  adds PyTorch to it, for training/ and its tests (once; gigabytes)"
	@echo "make demo    map a simulated building, localize in it, show the report"
	@echo "make test    all tests but the slow faults"
	@echo "make faults  what happens when something goes wrong: all fault tests, and docs/faults.md from what they saw"
	@echo "make lint    ruff, ruff format, mypy"
	@echo "make bench   most figures of BENCHMARK.md, measured again; some of them with SECTIONS=\"redkitchen castle\""
	@echo "make soak    twenty minutes at 30 Hz: do the nodes keep their memory?"
	@echo "make clean   remove the environment and what was built"

setup: $(READY)

# The stamp is the last thing written: a set-up that was interrupted is done again.
$(READY): setup.py tools/setup_environment.py $(shell find vloc_msgs tools/wheel_ros -type f -not -path '*/build/*' -not -path '*.egg-info/*' -not -path '*/__pycache__/*')
	@rm -f .venv/.ready*
	@$(PYTHON3) tools/setup_environment.py
	@touch $@

training: $(TRAINED)

$(TRAINED): $(READY)
	@$(PYTHON3) tools/setup_environment.py --training
	@touch $@

demo: $(READY)
	.venv/bin/vloc demo

test: $(READY)
	$(PYTHON) -m pytest

faults: $(READY)
	$(PYTHON) -m pytest test/faults -m fault --faults-page docs/faults.md

lint: $(READY)
	$(PYTHON) -m ruff check
	$(PYTHON) -m ruff format --check
	$(PYTHON) -m mypy

bench: $(READY)
	$(PYTHON) tools/bench.py $(SECTIONS)

soak: $(READY)
	$(PYTHON) tools/soak.py

clean:
	rm -rf .venv build
