"""Tables: bundled data sets, files, the types of their columns, and their encoding."""

from ._bundled import BUNDLED, load_bundled
from ._columns import KINDS, Columns
from ._encode import encoder, features
from ._read import Table, read_table
from ._suspects import hints_of_order, made_from_target, outliers, suspects
from ._target import is_classification, split

__all__ = [
    "BUNDLED", "KINDS", "Columns", "Table", "encoder", "features", "hints_of_order",
    "is_classification", "load_bundled", "made_from_target", "outliers", "read_table", "split",
    "suspects",
]
