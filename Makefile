# Three commands, each with a virtual environment of its own. PYTHON names the interpreter to build them with.
PYTHON ?= python3
SOURCES := $(shell find src native bindings -type f -not -path '*/__pycache__/*') CMakeLists.txt pyproject.toml

.PHONY: demo test docs clean

# Trains real models on real data with the library's own losses.
demo: .venv-demo/installed
	.venv-demo/bin/xent demo

# Every test, against the installed package; first those of the GPU's kernels, in Triton's interpreter, which shares no
# process with TensorFlow.
test: .venv-test/installed
	TRITON_INTERPRET=1 .venv-test/bin/python -m pytest -n auto tests/gpu $(PYTEST_ARGS)
	.venv-test/bin/python -m pytest -n auto $(PYTEST_ARGS)

# The documentation as a site that needs no network: open site/index.html.
docs: .venv-docs/installed
	NO_MKDOCS_2_WARNING=1 .venv-docs/bin/python -m mkdocs build --strict

.venv-%/installed: $(SOURCES)
	test -x .venv-$*/bin/python || $(PYTHON) -m venv .venv-$*
	.venv-$*/bin/python -m pip install --quiet --disable-pip-version-check --upgrade pip
	.venv-$*/bin/python -m pip install --quiet --disable-pip-version-check ".[$*]"
	touch $@

clean:
	rm -rf .venv-demo .venv-test .venv-docs build demo-output site
