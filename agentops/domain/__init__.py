"""The rules: no Django, no I/O, no clock. Time, prices and data are arguments."""
