"""Import and export of weights: readers of file formats (`torch_files`) and parameter names of projects (`pytorch`).

Weights are numpy arrays by name here; `import_run` writes them to a run directory.
"""
