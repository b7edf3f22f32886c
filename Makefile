# A thin front for CMake; everything real is in CMakeLists.txt, cmake/ and scripts/.
PRESET ?= release
JOBS ?= $(shell nproc)
BUILD := build/$(PRESET)
TIDY = git ls-files '*.c' '*.h'

SEEDS ?= 1000
FIRST ?= 1

.PHONY: help build run test check check-long sim bench bench-coordinator bench-check asan tsan fuzz format tidy clean

help: ## print this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 20

build: ## configure and build (PRESET=release|debug|asan-ubsan|tsan)
	@scripts/setup --if-root
	@cmake --preset $(PRESET) >/dev/null
	@cmake --build --preset $(PRESET) -j $(JOBS)

run: build ## everything: fetch the model, evaluate, train the starter data, evaluate, report
	@scripts/run-starter $(BUILD)/bin

test: build ## build and run every test
	@ctest --test-dir $(BUILD) --output-on-failure -j $(JOBS)

check: build ## the quick tests only (unit and tidy; under a minute)
	@ctest --test-dir $(BUILD) --output-on-failure -j $(JOBS) -R '^(unit|tidy|data|bench)\.'

check-long: build ## hours: what .ci/run has no time for (10,000 seeds, 20 minutes of fuzzing a target)
	@$(MAKE) --no-print-directory sim SEEDS=10000
	@JOBS=$(JOBS) scripts/fuzz 1200

sim: build ## simulate whole clusters with faults: seeds FIRST .. FIRST+SEEDS-1
	@$(BUILD)/tests/pft-sim --first $(FIRST) --seeds $(SEEDS) --jobs $(JOBS)

bench: build ## beside PyTorch, in one run (ARGS='--scenarios 4 --rounds 1': a quick look)
	@scripts/bench/run $(ARGS)

bench-coordinator: build ## the coordinator alone, synthetic workers (ARGS='--only jobs --transports ipc': one part)
	@scripts/bench/coordinator $(ARGS)

bench-check: ## ratios of the last make bench against the committed ones
	@scripts/bench/check

asan: ## unit and end-to-end tests under ASan and UBSan (make fuzz is so too)
	@$(MAKE) --no-print-directory build PRESET=asan-ubsan
	@PFT_SLOW=1 ctest --test-dir build/asan-ubsan --output-on-failure -j $(JOBS) -E '^(interop|fuzz|tidy|data|bench)\.|test_(generate|team)\.(portable|x86-64-v3)$$'

# What starts no thread has nothing to race: unit tests are chosen by the calls their programs hold. Restarts of the same
# threads, dead links, and other kernels than the best, are left to asan.
THREADED = cd $(BUILD)/tests && for t in test_*; do nm -D --undefined-only $$t | \
	grep -qE ' (pthread_create|uv_queue_work|zmq_ctx_new)' && echo $$t || :; done

tsan: build ## unit tests that start threads, and end-to-end tests of threads, under TSan
	@cmake --preset tsan >/dev/null
	@chosen=$$($(THREADED)) && [ -n "$$chosen" ] && cmake --build --preset tsan -j $(JOBS) --target pft pft-coordinator pft-worker $$chosen && \
	  PFT_SLOW=1 TSAN_OPTIONS=ignore_noninstrumented_modules=1 ctest --test-dir build/tsan --output-on-failure -j $(JOBS) \
		-R "^(unit\.($$(echo $$chosen | tr ' ' '|'))|e2e\..*)$$" \
		-E 'test_(adamw_bits|broken_inputs|compose|corruptions|evals|failpoints|infer|judge|namespaces|objectives|plan_check|reproduce|shell|standing)$$'

fuzz: ## every fuzz target for SECONDS (default 60); SEED=n repeats
	@JOBS=$(JOBS) SEED=$(SEED) scripts/fuzz $(or $(SECONDS),60)

format: ## clang-format every C file in place
	@command -v clang-format >/dev/null || { echo "format: clang-format is missing: scripts/setup --dev" >&2; exit 1; }
	@$(TIDY) | xargs clang-format -i

tidy: build ## clang-tidy and the house rules
	@command -v clang-tidy >/dev/null || { echo "tidy: clang-tidy is missing: scripts/setup --dev" >&2; exit 1; }
	@python3 tests/tidy/test_tidy.py
	@git ls-files 'common/*.c' 'coordinator/*.c' 'worker/*.c' 'cli/*.c' | grep -v kernels_impl | \
	  xargs -P $(JOBS) -n 4 clang-tidy -p $(BUILD) --quiet

clean: ## remove build/
	rm -rf build
