"""A Zephyr module: zephyr/module.yml, one Kconfig switch per model, a sample per model."""

from __future__ import annotations

from hiss.firmware_export.c import Model
from hiss.firmware_export.packages.examples import port_text, x_type, zephyr_main
from hiss.firmware_export.packages.package import Package


def zephyr_texts(package: Package) -> dict[str, str]:
    """path -> text."""
    if package.name.lower() == "current":
        raise ValueError(
            "'current' is no name for a Zephyr module (Zephyr uses it itself); give the model another name"
        )
    texts = {
        "zephyr/module.yml": _module_yml(package),
        "zephyr/CMakeLists.txt": _lists(package),
        "zephyr/Kconfig": "\n".join(_kconfig(model) for model in package.models),
        **{f"src/{file}": text for file, text in package.sources.items()},
    }
    for model in package.models:
        folder = f"samples/{model.name}"
        texts[f"{folder}/CMakeLists.txt"] = _sample_lists(model)
        texts[f"{folder}/prj.conf"] = f"{_switch(model.name)}=y\n{_switch(model.name)}_SELFTEST=y\n"
        texts[f"{folder}/sample.yaml"] = _sample_yaml(model)
        texts[f"{folder}/src/main.c"] = zephyr_main(model)
    return texts


def _switch(name: str) -> str:
    return f"CONFIG_HISS_{name.upper()}"


def _module_yml(package: Package) -> str:
    samples = "".join(f"  - samples/{name}\n" for name in package.names)
    return f'name: "{package.name}"\nbuild:\n  cmake: zephyr\n  kconfig: zephyr/Kconfig\nsamples:\n{samples}'


def _lists(package: Package) -> str:
    wanted = " OR ".join(_switch(name) for name in package.names)
    models = "".join(
        f"""  zephyr_library_sources_ifdef({_switch(name)} ../src/{name}.c)
  zephyr_library_sources_ifdef({_switch(name)}_SELFTEST ../src/{name}_selftest.c)
"""
        for name in package.names
    ) + "".join(f"  zephyr_library_sources_ifdef({_switch(name)} ../src/{name}_board.c)\n" for name in package.boards)
    runtime = "".join(_runtime(file, package.ops_version) for file in package.runtime_sources)
    return f"""if({wanted})
  zephyr_include_directories(../src)
  zephyr_library_named(hiss_{package.name})
{models}
  # The runtime: where several modules bring it, the first one does for all.
{runtime}endif()
"""


def _runtime(file: str, version: int) -> str:
    known = file.removesuffix(".c").upper()
    return f"""  get_property(found GLOBAL PROPERTY {known}_BROUGHT)
  if(NOT found)
    zephyr_library_sources(../src/{file})
    set_property(GLOBAL PROPERTY {known}_BROUGHT {version})
  elseif(NOT found EQUAL {version})
    message(FATAL_ERROR "version {version} of {file} is needed, another module brought ${{found}}: "
      "export both with the same hiss")
  endif()
"""


def _kconfig(model: Model) -> str:
    name, program = model.name, model.program
    made = ", ".join(port_text(port) for port in program.outputs[:4])
    unit = "\timply FPU if CPU_HAS_FPU\n" if x_type(model) == "float" else ""
    return f"""config {_switch(name).removeprefix("CONFIG_")}
\tbool "{name}: {made}"
{unit}\thelp
\t  {len(program.inputs)} inputs at {program.rate_hz:g} Hz, an estimate every {program.period} samples.

config {_switch(name).removeprefix("CONFIG_")}_SELFTEST
\tbool "Self-test of {name}"
\tdepends on {_switch(name).removeprefix("CONFIG_")}
\thelp
\t  Vectors that must come out the same on every processor. They take flash.
"""


def _sample_lists(model: Model) -> str:
    return f"""cmake_minimum_required(VERSION 3.20.0)
list(APPEND ZEPHYR_EXTRA_MODULES ${{CMAKE_CURRENT_SOURCE_DIR}}/../..)
find_package(Zephyr REQUIRED HINTS $ENV{{ZEPHYR_BASE}})
project({model.name}_sample LANGUAGES C)
target_sources(app PRIVATE src/main.c)
"""


def _sample_yaml(model: Model) -> str:
    return f"""sample:
  name: "{model.name}"
  description: estimates of {model.name} on the console
tests:
  sample.hiss.{model.name}:
    harness: console
    harness_config:
      type: one_line
      regex:
        - "self-test: 0 mismatches"
"""
