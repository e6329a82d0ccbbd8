"""Data frames of Spark, Dask and Ray: these engines cut the rows into partitions and run them; nothing here does."""
