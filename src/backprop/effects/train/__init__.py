"""Running a training plan on torch, TRL and PEFT."""
