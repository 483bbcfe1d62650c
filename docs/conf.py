"""How Sphinx makes the site: ``make docs``. Warnings are errors."""

import sys
import warnings
from pathlib import Path

import torch

import fastbp

sys.path.insert(0, str(Path(__file__).parent))
import drawings

drawings.draw_all()

project, author, copyright = "fastbp", "the fastbp authors", "the fastbp authors"
version = release = fastbp.__version__
extensions = [
    "sphinx.ext.autosummary",
    "numpydoc",
    "myst_parser",
    "sphinx_copybutton",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
]
templates_path, html_static_path, html_css_files = ["_templates"], ["_static"], ["site.css"]
exclude_patterns = ["auto_gallery/*.ipynb", "auto_gallery/*.zip", "gallery/*"]
nitpicky = False
suppress_warnings = ["config.cache"]  # sphinx-gallery's settings hold functions, which are not kept

myst_enable_extensions, myst_heading_anchors = ["colon_fence", "deflist", "dollarmath"], 3

autosummary_generate, numpydoc_show_class_members, numpydoc_xref_param_type = True, False, False
autodoc_typehints = "none"  # docstrings tell types and shapes
numpydoc_validation_checks = {
    "GL03", "GL05", "GL06", "GL07", "GL08", "GL09", "GL10",  # sections: known ones, in their order; no empty docstring
    "SS01", "SS02", "SS03", "SS04",  # a summary, in a sentence
    "PR02", "PR05", "PR10",  # parameters: only those that there are
    "RT05",  # what is returned
}  # fmt: skip

html_theme, html_title, html_show_sourcelink, html_copy_source = "pydata_sphinx_theme", "fastbp", False, False
html_theme_options = {
    "logo": {"text": "fastbp"},
    "header_links_before_dropdown": 6,
    "show_toc_level": 2,
    "navigation_with_keys": False,
    "show_prev_next": True,
    "footer_start": ["copyright"],
    "footer_end": ["theme-version"],
}
html_sidebars = {"index": [], "from_pytorch": []}  # two columns of code need the room

sphinx_gallery_conf = {
    "examples_dirs": "gallery",
    "gallery_dirs": "auto_gallery",
    "filename_pattern": r"\.py$",
    "matplotlib_animations": False,
    "min_reported_time": 0,
    "download_all_examples": False,
    "show_signature": False,
    "remove_config_comments": True,
    "abort_on_example_error": True,
    "reset_modules": ("matplotlib",),
}

torch.set_num_threads(1)  # where it is faster for networks of this size
warnings.filterwarnings("error", module="fastbp")
