"""Every reader of a foreign file, fed what no honest program writes: `make fuzz`, and how it is done in `campaign`."""
