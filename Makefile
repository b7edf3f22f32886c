# A thin front for CMake; everything real is in CMakeLists.txt, cmake/ and scripts/.
PRESET ?= release
BUILD := build/$(PRESET)

.PHONY: help run test check bench asan tsan format tidy clean build

help: ## print this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1|/' | column -t -s '|'

build: ## configure and build (PRESET=release|debug|asan-ubsan|tsan)
	@scripts/setup --check
	@cmake --preset $(PRESET) >/dev/null
	@cmake --build --preset $(PRESET) -j $$(nproc)

test: ## build and run every test
	@scripts/setup --if-root
	@$(MAKE) --no-print-directory build
	@ctest --test-dir $(BUILD) --output-on-failure -j $$(nproc)

clean: ## remove build/
	rm -rf build
