"""The verdict on each day of a series: traffic, an outage, part of a day, or a spike of bots. Pure numpy, no clock.

A verdict depends only on its day and the CONTEXT days before it, never on a later day or another verdict. A backtest
therefore does not peek, and days judged a few at a time, with their context, get the same verdicts as all at once. Only
the last day of a site may be judged differently from how it would be if it were not the last (`last_day.py`).
"""
