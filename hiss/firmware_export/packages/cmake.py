"""A CMake package: one static library per model, one for the runtime, a self-test for ctest, an example.

Works by itself, by add_subdirectory and by FetchContent. Several such packages in one build share the runtime.
"""

from __future__ import annotations

from collections import Counter

from hiss.firmware_export.c import Model
from hiss.firmware_export.packages.examples import portable_main
from hiss.firmware_export.packages.package import Package

_TARGETS = """\
all all_build help install preinstall clean edit_cache rebuild_cache zero_check test run_tests package package_source
list_install_components depend doc check example
"""
_RESERVED = frozenset(_TARGETS.split())
_HEADERS = "PUBLIC $<BUILD_INTERFACE:${CMAKE_CURRENT_SOURCE_DIR}/src> $<INSTALL_INTERFACE:include>"


def cmake_texts(package: Package) -> dict[str, str]:
    """path -> text."""
    _check_targets(package)
    examples = {f"example/{m.name}.c": portable_main(m) for m in package.models}
    tests = {f"test/{m.name}.c": _selftest_main(m) for m in package.models}
    sources = {f"src/{file}": text for file, text in package.sources.items()}
    return {"CMakeLists.txt": _lists(package), **sources, **examples, **tests}


def _check_targets(package: Package) -> None:
    targets = Counter(name + ending for name in package.names for ending in ("", "_check", "_example", "_host"))
    for name in package.names:
        if name.lower() in _RESERVED:
            raise ValueError(f"{name!r} is a target of CMake itself; give the model another name")
    if twice := [target for target, count in targets.items() if count > 1]:
        raise ValueError(f"two CMake targets would be named {twice[0]}; give one of the models another name")


def _selftest_main(model: Model) -> str:
    return f"""/* ctest: the vectors of {model.name} on this processor. */

#include "{model.name}.h"

int main(void)
{{
    static {model.name}_t model;
    return {model.name}_selftest(&model) != 0;
}}
"""


def _lists(package: Package) -> str:
    runtime = [file.removesuffix(".c") for file in package.runtime_sources]
    runtimes = "".join(_runtime_target(target, package.ops_version) for target in runtime)
    models = "".join(_model_target(name, runtime, name in package.boards) for name in package.names)
    alone = "".join(_programs(name) for name in package.names) + "".join(_host_program(name) for name in package.boards)
    return f"""cmake_minimum_required(VERSION 3.13)
project({package.name} VERSION {_plain_version(package)} LANGUAGES C)

# The runtime: where several packages stand in one build, the first one brings it for all.
{runtimes}
{models}
if(CMAKE_SOURCE_DIR STREQUAL CMAKE_CURRENT_SOURCE_DIR)
  enable_testing()
{alone}
{_install(package, runtime)}endif()
"""


def _runtime_target(target: str, version: int) -> str:
    return f"""if(NOT TARGET {target})
  add_library({target} STATIC src/{target}.c)
  target_include_directories({target} {_HEADERS})
  set_target_properties({target} PROPERTIES C_STANDARD 99 C_EXTENSIONS OFF HISS_OPS_VERSION {version})
endif()
get_target_property(found {target} HISS_OPS_VERSION)
if(NOT found EQUAL {version})
  message(FATAL_ERROR "${{PROJECT_NAME}} needs version {version} of {target}, another package brought ${{found}}: "
    "export both with the same hiss")
endif()
"""


def _model_target(name: str, runtime: list[str], board: bool) -> str:
    answers = f" src/{name}_board.c" if board else ""
    return f"""add_library({name} STATIC src/{name}.c src/{name}_selftest.c{answers})
add_library({name}::{name} ALIAS {name})
target_include_directories({name} {_HEADERS})
target_link_libraries({name} PUBLIC {" ".join(runtime)})
set_target_properties({name} PROPERTIES C_STANDARD 99 C_EXTENSIONS OFF)
"""


def _programs(name: str) -> str:
    return f"""  add_executable({name}_check test/{name}.c)
  target_link_libraries({name}_check PRIVATE {name}::{name})
  add_test(NAME {name}_selftest COMMAND {name}_check)
  add_executable({name}_example example/{name}.c)
  target_link_libraries({name}_example PRIVATE {name}::{name})
"""


def _host_program(name: str) -> str:
    return f"""  if(UNIX)
    add_executable({name}_host host/{name}_host.c)
    target_link_libraries({name}_host PRIVATE {name}::{name})
  endif()
"""


def _install(package: Package, runtime: list[str]) -> str:
    headers = " ".join(f"src/{file}" for file in package.sources if file.endswith(".h"))
    return f"""  install(TARGETS {" ".join([*package.names, *runtime])} EXPORT {package.name} ARCHIVE DESTINATION lib)
  install(FILES {headers} DESTINATION include)
  install(EXPORT {package.name} FILE {package.name}-config.cmake NAMESPACE {package.name}::
    DESTINATION lib/cmake/{package.name})
"""


def _plain_version(package: Package) -> str:
    return package.about.version.partition("-")[0]
