"""CSV files as panels or as a source: exports of analytics tools, and long and wide files.

A file passes through `tables` (text), `layout` and `formats` (what its columns are and mean), `rows` (numbers by series
and day, as `numbers`, `dates` and `cells` read them) and `observations` (series).
"""
