# tests/unit/**/test_*.c are cmocka programs; tests/{bench,data,e2e,interop,tidy}/test_*.{py,sh} are scripts.
# A script that cannot run exits 77 and names the reason; ctest then counts it as skipped.
pkg_check_modules(CMOCKA REQUIRED IMPORTED_TARGET cmocka)
find_program(PYTHON3 python3 REQUIRED)

file(GLOB_RECURSE UNIT_TESTS CONFIGURE_DEPENDS tests/unit/*/test_*.c tests/golden/test_*.c)
foreach(source ${UNIT_TESTS})
  get_filename_component(name ${source} NAME_WE)
  add_executable(${name} ${source})
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
  target_link_libraries(${name} PRIVATE ${PFT_LIBS} PkgConfig::CMOCKA)
  # The file calls of the project's own code go through the test (tests/support/disk_faults.h).
  file(STRINGS ${source} faults REGEX "#include .*_faults\\.h" LIMIT_COUNT 1)
  if(faults)
    foreach(call open read pread write pwrite fsync fdatasync ftruncate rename)
      target_link_options(${name} PRIVATE LINKER:--wrap=${call})
    endforeach()
  endif()
  add_test(NAME unit.${name} COMMAND ${name} WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
  set_tests_properties(unit.${name} PROPERTIES TIMEOUT 600 SKIP_RETURN_CODE 77)
  # What computes does so on the best kernels of this machine, and again on every other level it has.
  file(STRINGS ${source} levels REGEX "test_level_prepare" LIMIT_COUNT 1)
  if(levels)
    foreach(level portable x86-64-v3)
      add_test(NAME unit.${name}.${level} COMMAND ${name} WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
      set_tests_properties(unit.${name}.${level} PROPERTIES TIMEOUT 600 SKIP_RETURN_CODE 77
                           ENVIRONMENT PFT_TEST_KERNELS=${level})
    endforeach()
  endif()
endforeach()

# Fuzz targets: LLVMFuzzerTestOneInput and seeds. A driver of our own mutates them for a bounded time;
# with PFT_LIBFUZZER (preset fuzz, clang) libFuzzer does, for as long as scripts/fuzz says.
file(GLOB FUZZ_TARGETS CONFIGURE_DEPENDS tests/fuzz/fuzz_*.c)
add_custom_target(fuzz_targets)
foreach(source ${FUZZ_TARGETS})
  get_filename_component(name ${source} NAME_WE)
  add_executable(${name} ${source} tests/fuzz/seeds.c)
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
  target_link_libraries(${name} PRIVATE ${PFT_LIBS})
  add_dependencies(fuzz_targets ${name})
  if(PFT_LIBFUZZER)
    target_sources(${name} PRIVATE tests/fuzz/libfuzzer.c)
    target_link_options(${name} PRIVATE -fsanitize=fuzzer)
  else()
    target_sources(${name} PRIVATE tests/fuzz/driver.c)
    add_test(NAME fuzz.${name} COMMAND ${name} WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
    set_tests_properties(fuzz.${name} PROPERTIES TIMEOUT 900)
  endif()
endforeach()
target_link_options(fuzz_fleet PRIVATE LINKER:--wrap=server_run) # the loop is the script's
if(NOT PFT_LIBFUZZER) # a whole server, a file of weights for every input: slower than a parser
  set_tests_properties(fuzz.fuzz_fleet fuzz.fuzz_server fuzz.fuzz_weights PROPERTIES ENVIRONMENT PFT_FUZZ_RUNS=4000)
endif()

file(GLOB TOOLS CONFIGURE_DEPENDS tests/interop/*_tool.c tests/e2e/*_tool.c tests/bench/*_tool.c)
foreach(source ${TOOLS})
  get_filename_component(name ${source} NAME_WE)
  add_executable(${name} ${source})
  target_link_libraries(${name} PRIVATE ${PFT_LIBS})
endforeach()

foreach(kind bench data e2e interop tidy)
  file(GLOB SCRIPTS CONFIGURE_DEPENDS tests/${kind}/test_*.py tests/${kind}/test_*.sh)
  foreach(script ${SCRIPTS})
    get_filename_component(name ${script} NAME_WE)
    get_filename_component(ext ${script} EXT)
    if(ext STREQUAL ".py")
      add_test(NAME ${kind}.${name} COMMAND ${PYTHON3} -B ${script} WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
    else()
      add_test(NAME ${kind}.${name} COMMAND bash ${script} WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
    endif()
    set_tests_properties(${kind}.${name} PROPERTIES LABELS ${kind} TIMEOUT 1500 SKIP_RETURN_CODE 77
                         ENVIRONMENT "PFT_BIN=${CMAKE_BINARY_DIR}/bin")
  endforeach()
endforeach()

# It floods the machine, and others have deadlines.
set_tests_properties(e2e.test_siege PROPERTIES RUN_SERIAL TRUE)

# The simulator: the two programs over a virtual loop, network, clock and disk (docs/simulation.md).
# File calls, random bits and a few seams of the project are sent to it by the linker; --as-needed
# keeps the matrix libraries out, whose place it takes.
file(GLOB SIM_SOURCES CONFIGURE_DEPENDS tests/sim/*.c)
add_executable(pft-sim ${SIM_SOURCES})
set_target_properties(pft-sim PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
set(SIM_WRAPPED open close read pread write pwrite fsync fdatasync ftruncate rename unlink remove
                mkdir stat fstat flock opendir readdir closedir getrandom gethostname model_shape model_describe
                forest_groups forest_build reduce_begin reduce_add reduce_finish journal_append
                queue_split)
list(TRANSFORM SIM_WRAPPED PREPEND "LINKER:--wrap=")
target_link_options(pft-sim PRIVATE LINKER:--as-needed ${SIM_WRAPPED})
target_link_libraries(pft-sim PRIVATE pft_worker pft_coordinator)
add_test(NAME sim.seeds COMMAND pft-sim --seeds 100 WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
add_test(NAME sim.audit_of_every_unit COMMAND pft-sim --seeds 100 --audit 1 WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
add_test(NAME sim.audit_finds_a_liar COMMAND pft-sim --seeds 40 --audit 0.05 --liar
         WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
add_test(NAME sim.audit_cost COMMAND pft-sim --seeds 6 --audit 0.01 --cost WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
set_tests_properties(sim.seeds sim.audit_of_every_unit sim.audit_finds_a_liar sim.audit_cost PROPERTIES TIMEOUT 1500)

# The coordinator with the journal off, for scripts/bench/fault-cost alone: built when that asks for it,
# in a folder of its own. The shipped program has no such option.
add_executable(pft-coordinator-no-journal EXCLUDE_FROM_ALL coordinator/main.c tests/bench/no_journal.c)
set_target_properties(pft-coordinator-no-journal PROPERTIES OUTPUT_NAME pft-coordinator
                      RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin/no-journal)
target_link_libraries(pft-coordinator-no-journal PRIVATE pft_coordinator)
target_link_options(pft-coordinator-no-journal PRIVATE LINKER:--wrap=journal_append
                    LINKER:--wrap=journal_prune LINKER:--wrap=checkpoint_write)
add_custom_command(TARGET pft-coordinator-no-journal POST_BUILD COMMAND ${CMAKE_COMMAND} -E create_symlink
                   ${CMAKE_BINARY_DIR}/bin/pft-worker ${CMAKE_BINARY_DIR}/bin/no-journal/pft-worker)
