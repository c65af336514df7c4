"""What `benchmarks/exposition.py` measures beside each other, each in a process of its own."""
