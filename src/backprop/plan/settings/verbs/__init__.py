"""What each verb takes: groups of settings, and a few fields of its own that only flags can set.

One module a verb, so that a command loads no more than it needs.
"""
