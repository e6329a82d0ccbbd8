"""What people run, one file a command: `traffic-forecast train` and `python scripts/train.py` are the same code."""
