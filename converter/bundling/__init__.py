"""Bundles: what an app's developer is handed, proven files with a sample that runs them and a test of its own.

Choosing files (`choosing`), what samples read (`preparing`), what they must come to (`expecting`), the page
(`readme`), and writing it all at once (`writing`). Samples are small projects in `samples/<platform>`; which checks
they went through is in `checked.json`. How a format is run comes as an argument.
"""
