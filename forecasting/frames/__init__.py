"""Data frames in, data frames out: forecasts for people without a database. Starts no server and imports no driver."""
