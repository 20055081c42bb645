"""Modalities: one module or package per kind of data. The file name is the public name; see `bench.catalog`."""
