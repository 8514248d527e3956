"""One word for each check: ``nox -s tests``, ``nox -l`` lists them.

The checks use the environment that nox is called in. The first command of CONTRIBUTING.md installs what they need.
"""

from __future__ import annotations

import nox

nox.options.default_venv_backend = "none"
nox.options.error_on_external_run = False
nox.options.sessions = ["lint", "types", "imports", "docs", "tests"]

FAST = "unit and not slow"
NO_TESTS = 5  # https://docs.pytest.org/en/stable/reference/exit-codes.html
PARALLEL = ("-n", "2", "--dist", "loadfile")
WAITING = ("-n", "3", "--dist", "loadfile")  # for the slow tests, which wait for processes


@nox.session
def tests(session: nox.Session) -> None:
    """Run the tests that take seconds; arguments after ``--`` are pytest's."""
    session.run("python", "-m", "pytest", *(session.posargs or PARALLEL))


@nox.session
def quick(session: nox.Session) -> None:
    """Check what differs from main, or from ``-- BASE``, in about a minute: style, types, imports, and its tests."""
    session.run("ruff", "format", "--check", ".")
    session.run("ruff", "check", ".")
    session.run("lint-imports", "--no-logo")
    session.run("mypy")
    found = session.run("python", "tools/changed_tests.py", *session.posargs, silent=True, log=False)
    own, importing = (line.split() for line in str(found).split("\n")[:2])
    if own:
        session.run("python", "-m", "pytest", "-q", *PARALLEL, *own, success_codes=[0, NO_TESTS])  # all may be slow
    if importing:  # of these, the tests that start no server or process
        session.run("python", "-m", "pytest", "-q", *PARALLEL, "-m", FAST, *importing, success_codes=[0, NO_TESTS])


@nox.session
def slow(session: nox.Session) -> None:
    """Run the tests that take minutes: kills, fuzzers, whole runs, properties with more examples."""
    chosen = ("-m", "slow and not exhaustive", *session.posargs)
    session.run("python", "-m", "pytest", *WAITING, *chosen, env={"EECHIPS_EXAMPLES": "30"})


@nox.session
def exhaustive(session: nox.Session) -> None:
    """Run the longest of the slow tests; and properties with ten times as many examples as CI."""
    chosen = ("-m", "exhaustive or hypothesis", *session.posargs)
    session.run("python", "-m", "pytest", *WAITING, *chosen, env={"EECHIPS_EXAMPLES": "300"})


@nox.session
def lint(session: nox.Session) -> None:
    """Check format and style; ``nox -s lint -- --fix`` corrects what can be corrected."""
    fix = "--fix" in session.posargs
    session.run("ruff", "format", *([] if fix else ["--check"]), ".")
    session.run("ruff", "check", *(["--fix"] if fix else []), ".")


@nox.session
def types(session: nox.Session) -> None:
    """Check types, strictly."""
    session.run("mypy")


@nox.session
def imports(session: nox.Session) -> None:
    """Check which package may import which: the contracts in pyproject.toml."""
    session.run("lint-imports")


@nox.session
def docs(session: nox.Session) -> None:
    """Compare generated pages with the code and build the site; ``nox -s docs -- --write`` updates the pages."""
    session.run("python", "docs/generate.py", *([] if "--write" in session.posargs else ["--check"]))
    session.run("mkdocs", "build", "--strict", "--quiet", env={"NO_MKDOCS_2_WARNING": "1"})


@nox.session
def distribution(session: nox.Session) -> None:
    """Build wheel and sdist, and use the wheel in an empty folder."""
    session.run("python", "-m", "pytest", "tests/distribution", "-m", "", *session.posargs)


@nox.session(venv_backend="venv")
def lowest(session: nox.Session) -> None:
    """Run the tests with the lowest versions of all packages that pyproject.toml names."""
    session.install("uv")
    session.run(
        "uv", "pip", "install", "--resolution", "lowest-direct", "-e", "./packages/eechips-local", "-e", ".[dev]"
    )
    session.run("python", "-m", "pytest", *(session.posargs or PARALLEL))


@nox.session(venv_backend="venv")
def loaders(session: nox.Session) -> None:
    """Read training sets by the loaders of other libraries, of some gigabytes, in an environment of their own."""
    session.install("-e", "./packages/eechips-local", "-e", ".[dev]")
    session.install("torchgeo", "terratorch", "rslearn", "tacotoolbox", "tacoreader", "duckdb<1.4")  # tacoreader 2.4
    session.run("python", "-m", "pytest", "tests/end_to_end/test_training_loaders.py", "-m", "", *session.posargs)


@nox.session
def fuzz(session: nox.Session) -> None:
    """Run the fuzzers for ten minutes; ``nox -s fuzz -- 3600`` for an hour."""
    seconds = session.posargs[0] if session.posargs else "600"
    session.run("python", "-m", "pytest", "tests/fuzz", "-m", "", env={"EECHIPS_FUZZ_SECONDS": seconds})
