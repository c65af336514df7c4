"""A Databricks workspace that behaves like the real one, over real HTTP: for `--demo` and for every test."""
