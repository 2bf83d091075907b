# As much of Zephyr's build system as the generated modules and samples use, for the computer that runs the tests:
# switches come from prj.conf, checked against the modules' Kconfig; modules from ZEPHYR_EXTRA_MODULES.

set(STUB_ZEPHYR ${CMAKE_CURRENT_LIST_DIR})
project(stub_zephyr LANGUAGES C)
set(CMAKE_C_STANDARD 99)
add_compile_options(-Wall -Wextra -Werror)

add_executable(app ${STUB_ZEPHYR}/kernel.c)
target_include_directories(app PRIVATE ${STUB_ZEPHYR})

macro(zephyr_include_directories)
  foreach(folder ${ARGN})
    get_filename_component(path ${folder} ABSOLUTE BASE_DIR ${CMAKE_CURRENT_SOURCE_DIR})
    include_directories(${path})
    target_include_directories(app PRIVATE ${path})
  endforeach()
endmacro()

macro(zephyr_library_named name)
  set(STUB_LIBRARY ${name})
  add_library(${name} STATIC "")
  target_link_libraries(app PRIVATE -Wl,--whole-archive ${name} -Wl,--no-whole-archive) # as Zephyr does
endmacro()

function(zephyr_library_sources)
  foreach(source ${ARGN})
    get_filename_component(path ${source} ABSOLUTE BASE_DIR ${CMAKE_CURRENT_SOURCE_DIR})
    target_sources(${STUB_LIBRARY} PRIVATE ${path})
  endforeach()
endfunction()

function(zephyr_library_sources_ifdef switch)
  if(${switch})
    zephyr_library_sources(${ARGN})
  endif()
endfunction()

# What Kconfig would refuse: a switch that no module declares, or whose `depends on` is off
set(STUB_DECLARED "")
foreach(module ${ZEPHYR_EXTRA_MODULES})
  file(STRINGS ${module}/zephyr/Kconfig lines REGEX "^config ")
  foreach(line ${lines})
    string(REPLACE "config " "CONFIG_" switch ${line})
    list(APPEND STUB_DECLARED ${switch})
  endforeach()
endforeach()
file(STRINGS ${CMAKE_CURRENT_SOURCE_DIR}/prj.conf lines REGEX "^CONFIG_.*=y$")
foreach(line ${lines})
  string(REPLACE "=y" "" switch ${line})
  if(NOT switch IN_LIST STUB_DECLARED)
    message(FATAL_ERROR "${switch} is set, but no module declares it")
  endif()
  set(${switch} y)
endforeach()

foreach(module ${ZEPHYR_EXTRA_MODULES})
  file(STRINGS ${module}/zephyr/module.yml line REGEX "^  cmake: ")
  string(REPLACE "  cmake: " "" folder "${line}")
  get_filename_component(path ${module} ABSOLUTE)
  string(MD5 number ${path})
  add_subdirectory(${path}/${folder} ${CMAKE_BINARY_DIR}/modules/${number})
endforeach()
