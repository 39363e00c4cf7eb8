"""mcconvert: convert MobileCLIP to every format that phones, servers and browsers run, and prove each file."""

__version__ = "0.1.0"
