# worker/backend/kernels_impl.c three times, one object per level of kernels_level.h. FMA contraction
# is on in these objects and nowhere else; -ffast-math is on nowhere.
function(pft_kernels name level march)
  set(object kernels_${name})
  add_library(${object} OBJECT worker/backend/kernels_impl.c)
  if(PFT_SANITIZE STREQUAL "thread")
    # Loops over memory that a caller gave them, a hundred times slower when instrumented; that threads share
    # them rightly shows in the bits (test_team).
    target_compile_options(${object} PRIVATE -fno-sanitize=thread)
  endif()
  target_compile_definitions(${object} PRIVATE KERNELS_TABLE=kernels_${name} KERNELS_LEVEL=${level})
  target_compile_options(${object} PRIVATE -O3 -march=${march} -ffp-contract=fast -Wno-psabi ${ARGN})
  if(PFT_LIBFUZZER) # no fuzz target multiplies, and clang takes minutes to instrument these
    target_compile_options(${object} PRIVATE -O1 -fno-sanitize=all)
  endif()
  target_sources(pft_worker PRIVATE $<TARGET_OBJECTS:${object}>)
endfunction()

pft_kernels(portable KERNELS_PORTABLE x86-64 -mtune=generic)
pft_kernels(v3 KERNELS_V3 x86-64-v3)
pft_kernels(v4 KERNELS_V4 x86-64-v4 -mprefer-vector-width=512)
