# worker/backend/kernels_impl.c three times, one object per level of kernels_level.h. FMA contraction
# is on in these objects and nowhere else; -ffast-math is on nowhere.
function(pft_kernels library)
  set(objects "")
  foreach(row "portable KERNELS_PORTABLE x86-64 -mtune=generic" "v3 KERNELS_V3 x86-64-v3"
              "v4 KERNELS_V4 x86-64-v4 -mprefer-vector-width=512")
    separate_arguments(row)
    list(POP_FRONT row name level march)
    set(object ${library}_${name})
    add_library(${object} OBJECT worker/backend/kernels_impl.c)
    target_compile_definitions(${object} PRIVATE KERNELS_TABLE=kernels_${name} KERNELS_LEVEL=${level})
    target_compile_options(${object} PRIVATE -O3 -march=${march} -ffp-contract=fast -Wno-psabi ${row} ${ARGN})
    list(APPEND objects $<TARGET_OBJECTS:${object}>)
  endforeach()
  add_library(${library} STATIC ${objects})
endfunction()

if(PFT_SANITIZE STREQUAL "thread")
  # Loops over memory that a caller gave them, a hundred times slower when instrumented; that threads share
  # them rightly shows in the bits (test_team).
  pft_kernels(pft_kernels -fno-sanitize=thread)
elseif(PFT_LIBFUZZER) # no fuzz target multiplies, and clang takes minutes to instrument these
  pft_kernels(pft_kernels -O1 -fno-sanitize=all)
elseif(PFT_SANITIZE)
  # The unit and engine tests run every kernel of every level under the sanitizers. Whole programs take plain
  # ones: three quarters of their time was spent in instrumented loops that those tests walk already.
  pft_kernels(pft_kernels)
  pft_kernels(pft_kernels_plain -fno-sanitize=all)
else()
  pft_kernels(pft_kernels)
endif()
target_link_libraries(pft_worker PUBLIC pft_kernels)
if(TARGET pft_kernels_plain) # of two archives that have them the first is taken
  target_link_libraries(pft-worker PRIVATE pft_kernels_plain)
endif()
