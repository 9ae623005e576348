# A thin front to CMake and the scripts; every command is shown as it runs.
SHELL := /bin/bash
.SHELLFLAGS := -o pipefail -ec

OUT    ?= out
PREFIX ?= /usr/local

# Debian's Python, which its packages belong to, unless the system has none.
PYTHON    ?= $(firstword $(wildcard /usr/bin/python3) python3)
GAUSSPOOL := build/release/src/cli/gausspool
DATASET   := fashion-mnist

# Whether the wheel has libgausspool_cuda, which needs nvcc: ON or OFF.
CUDA      ?= OFF

.PHONY: help run check check-full check-torch build python wheel bench docs install clean fuzz format
help:
	@echo 'make run      train a small net on Fashion-MNIST, test it, label ten pictures; results in $(OUT)/'
	@echo 'make check    every test; ends with a count of what passed, failed and was skipped'
	@echo 'make check-full   the same, and parity with PyTorch of every family at its published size: some minutes more'
	@echo 'make build    the program and the library, optimised, in build/release/'
	@echo 'make python   the Python package with the library inside, in build/python/: for PYTHONPATH'
	@echo 'make wheel    the same as a wheel, in build/wheel/; `pip install .` installs it. CUDA=ON: with CUDA, which needs nvcc'
	@echo 'make bench    the speed of a training step beside PyTorch; of the operator alone: bench/run pool'
	@echo 'make docs     the library'\''s reference, build/docs/html/index.html'
	@echo 'make install  to PREFIX (now $(PREFIX)), under DESTDIR if given'
	@echo 'make check-torch   the PyTorch layer with the newest PyTorch of PyPI (gigabytes), in build/venv-newest/'
	@echo 'make fuzz     the readers of files under libFuzzer, FUZZ_SECONDS each (now $(FUZZ_SECONDS))'
	@echo 'make format   clang-format over the sources'
	@echo 'make clean    removes build/ (not $(OUT)/)'

build:
	scripts/setup run
	cmake --preset release
	cmake --build --preset release

run: build
	$(GAUSSPOOL) train --dataset $(DATASET) --arch resnet8 --pool gauss_CN --config-name fashion-mnist --out-dir $(OUT)
	$(GAUSSPOOL) test --model-file $(OUT)/model_best.safetensors --dataset $(DATASET) | tee $(OUT)/test.txt
	$(GAUSSPOOL) predict --model-file $(OUT)/model_best.safetensors --dataset $(DATASET) --samples 0-9
	@grep -Eo 'top-1 error [0-9.]+ %' $(OUT)/test.txt | tail -n 1

check:
	scripts/setup check
	$(PYTHON) scripts/check

check-full:
	scripts/setup check
	$(PYTHON) scripts/check --full

# One build for all of it: what `make build` has compiled is not compiled again.
python:
	scripts/setup python
	cmake --preset release
	cmake --build --preset release --target gausspool_python
	rm -rf build/python
	mkdir -p build/python
	cp -R bindings/python/src/gausspool build/python/
	find build/python -name __pycache__ -prune -exec rm -rf {} +
	cmake --install build/release --component python --prefix build/python

wheel:
	scripts/setup wheel
	$(PYTHON) -m pip wheel --no-deps --wheel-dir build/wheel --config-settings=cmake.define.GAUSSPOOL_CUDA=$(CUDA) .

# The variable: setuptools, which torch.compile imports, refuses to replace a distutils that a test has imported before.
check-torch: python
	scripts/get-python newest
	PYTHONPATH=build/python SETUPTOOLS_USE_DISTUTILS=stdlib build/venv-newest/bin/python -m pytest -q -rs bindings/python/tests

bench: build
	scripts/setup bench
	$(PYTHON) bench/run

docs:
	scripts/setup docs
	mkdir -p build
	doxygen docs/Doxyfile

install: build
	DESTDIR='$(DESTDIR)' cmake --install build/release --prefix '$(PREFIX)'

FUZZ_SECONDS ?= 60
fuzz:
	scripts/setup fuzz
	scripts/fuzz $(FUZZ_SECONDS)

format:
	git ls-files '*.c' '*.h' | xargs clang-format -i

clean:
	rm -rf build
