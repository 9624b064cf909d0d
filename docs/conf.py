"""The site: ``sphinx-build -W -j 6 docs site``. Every code cell and every example is executed."""

import os
import sys
from importlib.util import find_spec
from pathlib import Path

import kbo

DOCS = Path(__file__).parent
MATHJAX = Path(find_spec("sphinx-mathjax-offline").origin).parent
sys.path.insert(0, str(DOCS))
os.environ.setdefault("JAX_PLATFORMS", "cpu")

project = "kbo"
author = "the kbo developers"
project_copyright = "2026, the kbo developers"
version = release = kbo.__version__

extensions = [
    "myst_nb", "numpydoc", "sphinx.ext.autodoc", "sphinx.ext.autosummary", "sphinx.ext.mathjax",
    "sphinx_copybutton", "sphinx_design", "sphinx_gallery.gen_gallery", "sphinxcontrib.bibtex",
]
exclude_patterns = ["_build", "gallery/**.ipynb", "gallery/**.py", "sg_execution_times.rst"]
templates_path = ["_templates"]

# Pages
myst_enable_extensions = ["amsmath", "colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3
nb_execution_mode = os.environ.get("KBO_DOCS_EXECUTION", "auto")
nb_execution_timeout = 300
nb_execution_raise_on_error = True
nb_merge_streams = True
bibtex_bibfiles = [str(DOCS / "references.bib")]
bibtex_default_style = "plain"

# Gallery
sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "gallery",
    "abort_on_example_error": True,
    "plot_gallery": os.environ.get("KBO_DOCS_GALLERY", "True"),
    "show_memory": False,
    "min_reported_time": 1e9,
    "download_all_examples": False,
    "capture_repr": (),
    "parallel": 2,
    "reset_modules": ("matplotlib", "_reset.precision"),
}

# Names
autosummary_generate = True
autodoc_default_options = {"members": True}
autodoc_typehints = "none"
numpydoc_show_class_members = False
numpydoc_xref_param_type = False
add_module_names = False

# Looks
html_theme = "pydata_sphinx_theme"
html_title = "kbo"
html_static_path = ["_static", str(MATHJAX / "static")]
mathjax_path = "mathjax/tex-chtml.js"  # its own copy, so that formulas need no network
html_css_files = ["kbo.css"]
html_show_sourcelink = False
html_copy_source = False
html_theme_options = {
    "navbar_align": "left",
    "show_toc_level": 2,
    "navigation_with_keys": False,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": [],
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
}
# Pages that stand alone have no list of pages beside them.
ALONE = ("index", "choose", "extend", "benchmarks", "faq", "glossary", "about")
html_sidebars = {page: [] for page in ALONE}
