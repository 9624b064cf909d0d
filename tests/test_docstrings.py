"""Public names explain themselves: what each is, each of its parameters, and examples that run.

A parameter is documented by an entry under Parameters; that of a method, by its name in the text of
the method or of one that it overrides.
"""

import doctest
import importlib
import inspect
import re
import warnings
from pathlib import Path

import jax
import pytest

docscrape = pytest.importorskip("numpydoc.docscrape")

ROOT = Path(__file__).parents[1]
PACKAGES = [
    "kbo", "kbo.criteria", "kbo.datasets", "kbo.estimators", "kbo.estimators.search.adapters",
    "kbo.hypergradients", "kbo.hypergradients.linear_solvers", "kbo.inspection", "kbo.kernels",
    "kbo.losses", "kbo.metrics", "kbo.needs", "kbo.networks", "kbo.optimizers", "kbo.parameters",
    "kbo.regularizers", "kbo.search", "kbo.solvers", "kbo.solvers.centers", "kbo.spaces",
    "kbo.targets", "theory", "theory.population", "theory.problems",
]
EXAMPLES = [  # of the names used most, each of which has an Examples section
    "kbo.BilevelProblem", "kbo.Sample", "kbo.RKHS", "kbo.FeatureSpace", "kbo.solve",
    "kbo.outer_objective", "kbo.value_and_hypergradient", "kbo.minimize", "kbo.check_hypergradient",
    "kbo.standard_errors", "kbo.KernelBilevelRegressor", "kbo.KernelBilevelClassifier",
    "kbo.HypergradientSearchCV", "kbo.SampleReweightingClassifier", "kbo.KernelIVRegressor",
    "kbo.kernels.Gaussian", "kbo.losses.Squared", "kbo.solvers.Exact", "kbo.solvers.Nystrom",
    "kbo.criteria.LeaveOut", "kbo.inspection.report", "kbo.optimizers.LBFGS",
]


def names_of(package):
    """What ``__all__`` lists; without it, what the module defines."""
    if hasattr(package, "__all__"):
        return package.__all__
    return [
        name for name, value in vars(package).items()
        if not name.startswith("_") and getattr(value, "__module__", None) == package.__name__
        and (inspect.isclass(value) or inspect.isfunction(value))
    ]


def public():
    """Every public class and function once, under the shortest name that it is found by."""
    found = {}
    for path in PACKAGES:
        package = importlib.import_module(path)
        for name in names_of(package):
            value = getattr(package, name)
            known = inspect.isclass(value) or inspect.isroutine(value)
            if known and id(value) not in found:
                found[id(value)] = pytest.param(value, id=f"{path}.{name}")
    return list(found.values())


def parsed(value):
    """The sections of a docstring; a section that numpydoc does not know is an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return docscrape.NumpyDocString(inspect.getdoc(value) or "")


def signature(value):
    """The parameters of a call, without self and without those that begin with an underscore."""
    try:
        parameters = inspect.signature(value).parameters
    except (TypeError, ValueError):
        return []
    return [name for name in parameters if name not in ("self", "cls") and name[0] != "_"]


def listed(doc, *sections):
    """The names under some sections; an entry may have several, and may begin with stars."""
    entries = [entry.name for section in sections for entry in doc[section]]
    return {name.strip().lstrip("*") for entry in entries for name in entry.split(",")}


def made_by_others(cls):
    """Whether nobody calls the class: what is abstract, raised, or an enumeration."""
    return inspect.isabstract(cls) or issubclass(cls, (Exception, Warning)) or hasattr(cls, "__members__")


def members(cls):
    """Methods and properties that kbo defines for the class, under public names."""
    for name, value in inspect.getmembers_static(cls):
        method = inspect.isroutine(value) or isinstance(value, property)
        if not method or re.match(r"_|set_\w+_request$", name):  # the latter are scikit-learn's
            continue
        owner = next(base for base in cls.__mro__ if name in vars(base))
        if owner.__module__.split(".")[0] in ("kbo", "theory"):
            yield name, value, getattr(cls, name)


def is_described(parameter, text):
    """By its name or, as everywhere in kbo, by its symbol."""
    symbol = {"omega": "ω", "theta": "θ"}.get(parameter)
    return re.search(rf"\b{parameter}\b", text) or (symbol and symbol in text)


def texts(cls, name):
    """The docstrings of a method and of those that it overrides, which say what it is given."""
    owners = (vars(base)[name] for base in cls.__mro__ if name in vars(base))
    return [own.__doc__ for own in owners if own.__doc__]


@pytest.mark.parametrize("value", public())
def test_a_public_name_is_documented(value):
    assert vars(value).get("__doc__") if inspect.isclass(value) else value.__doc__, "no docstring"
    doc = parsed(value)
    first = " ".join(doc["Summary"])
    assert re.search(r"[.:;]$|[=↦∈]", first), f"{first!r} is neither a sentence nor a formula"
    if inspect.isclass(value) and made_by_others(value):
        return
    described = listed(doc, "Parameters", "Other Parameters", "Attributes")
    missing = [name for name in signature(value) if name not in described]
    assert not missing, f"not under Parameters: {missing}"
    unknown = listed(doc, "Parameters") - set(signature(value))
    assert not unknown, f"under Parameters, but not in the signature: {unknown}"


@pytest.mark.parametrize("cls", [case for case in public() if inspect.isclass(case.values[0])])
def test_public_methods_are_documented(cls):
    wrong = []
    for name, value, bound in members(cls):
        text = inspect.getdoc(bound if not isinstance(value, property) else value)
        if not text:
            wrong.append(f"{name} has no docstring")
            continue
        if isinstance(value, property):
            continue
        parsed(bound)
        text = " ".join(texts(cls, name))
        missing = [p for p in signature(bound) if not is_described(p, text)]
        if missing:
            wrong.append(f"{name} does not say what {missing} is")
    assert not wrong, wrong


def examples():
    finder = doctest.DocTestFinder(recurse=False)
    for case in public():
        for test in finder.find(case.values[0], case.id):
            if test.examples:
                yield pytest.param(test, id=case.id)


def test_the_names_used_most_have_examples():
    found = {case.id for case in examples()}
    assert not set(EXAMPLES) - found, set(EXAMPLES) - found


@pytest.mark.slow
@pytest.mark.parametrize("test", list(examples()))
def test_the_examples_of_a_docstring_run(test):
    said, before = [], jax.config.jax_enable_x64
    try:
        runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
        failed = runner.run(test, out=said.append, clear_globs=True).failed
    finally:
        jax.config.update("jax_enable_x64", before)  # what an example switches on ends with it
    assert not failed, "".join(said)


def test_every_public_name_is_on_a_page_of_the_reference():
    listed_, module = set(), ""
    for page in sorted((ROOT / "docs/api").glob("*.md")):
        for line in page.read_text().splitlines():
            module = line.split("::")[1].strip() if line.startswith(".. currentmodule::") else module
            listed_.add(f"{module}.{line.strip()}")
    missing = {case.id for case in public()} - listed_
    assert not missing, missing


def test_every_table_is_on_the_page_of_measurements():
    page = (ROOT / "docs/benchmarks.md").read_text()
    tables = {table.name for table in (ROOT / "benchmarks/results").glob("*.md")}
    assert not {name for name in tables if f"/{name}" not in page}
