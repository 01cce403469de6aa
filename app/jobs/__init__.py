"""What a job is: values, their lifecycle, the registry of tasks. No I/O."""
