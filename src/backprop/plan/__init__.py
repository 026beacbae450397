"""The core: settings and facts in, immutable plans out. Nothing here sees a clock, a file, a process or torch."""
