"""Configuration of Sphinx. ``make docs`` writes HTML to build/docs and fails at a warning."""

from setun import __version__


project, release, copyright = "Setun", __version__, "its authors, BSD-2-Clause"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
napoleon_custom_sections = [("Members", "params_style")]
autodoc_member_order = "bysource"
autodoc_typehints = "none"
html_theme = "alabaster"
html_theme_options = {"page_width": "1100px", "fixed_sidebar": True}
