# Each program folder becomes a library (for the tests) and, where it has a main.c, a program.
function(pft_program folder library program)
  pft_sources(sources ${folder})
  if(NOT sources)
    return()
  endif()
  add_library(${library} STATIC ${sources})
  target_link_libraries(${library} PUBLIC pft_common ${ARGN})
  set(PFT_LIBS ${library} ${PFT_LIBS} PARENT_SCOPE)
  if(EXISTS ${CMAKE_SOURCE_DIR}/${folder}/main.c)
    add_executable(${program} ${folder}/main.c)
    target_link_libraries(${program} PRIVATE ${library})
  endif()
endfunction()

pft_program(coordinator pft_coordinator pft-coordinator)

find_library(OPENBLAS_LIBRARY NAMES openblas REQUIRED)
find_path(OPENBLAS_INCLUDE NAMES cblas.h PATH_SUFFIXES x86_64-linux-gnu openblas-pthread REQUIRED)
find_library(DNNL_LIBRARY NAMES dnnl REQUIRED)
pft_program(worker pft_worker pft-worker ${OPENBLAS_LIBRARY} ${DNNL_LIBRARY} gomp)
if(TARGET pft_worker)
  target_include_directories(pft_worker PRIVATE ${OPENBLAS_INCLUDE})
  include(cmake/kernels.cmake OPTIONAL)
endif()

# In a build without failpoints the two programs come a second time, in bin/failpoints, for the tests:
# the files that have one are compiled anew, everything else is the same object.
function(pft_failpoint_program folder library program)
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS common/*.c ${folder}/*.c)
  set(with "")
  foreach(source ${sources})
    file(STRINGS ${source} found REGEX "FAILPOINT" LIMIT_COUNT 1)
    if(found)
      list(APPEND with ${source})
    endif()
  endforeach()
  add_executable(${program}-failpoints ${with})
  target_compile_definitions(${program}-failpoints PRIVATE PFT_FAILPOINTS)
  target_link_libraries(${program}-failpoints PRIVATE ${library})
  set_target_properties(${program}-failpoints PROPERTIES OUTPUT_NAME ${program}
                        RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin/failpoints)
endfunction()

if(NOT PFT_FAILPOINTS)
  pft_failpoint_program(coordinator pft_coordinator pft-coordinator)
  pft_failpoint_program(worker pft_worker pft-worker)
endif()

# Only pft speaks HTTP (pft judge).
pkg_check_modules(CURL REQUIRED IMPORTED_TARGET libcurl)
pft_program(cli pft_cli pft pft_coordinator PkgConfig::CURL)
