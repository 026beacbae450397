"""The command line: argv to settings, a workflow, and the rendering of its outcome."""
