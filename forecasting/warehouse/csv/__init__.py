"""CSV files as panels or as a source: exports of Google Analytics 4, Plausible and Matomo, and long and wide files.

A file passes through `tables` (text), `formats` (what its columns mean), `rows` (numbers by series and day) and
`observations` (series).
"""
