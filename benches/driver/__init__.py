"""Runs the scripts of benches/lua, and turns what they print into a report."""
