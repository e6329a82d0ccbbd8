"""What every command needs of its process: a log, a terminal, an orderly end. Imports nothing of ours but errors."""
