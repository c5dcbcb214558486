"""What asv measures of every commit: kernels, calls, imports, memory, the accelerator."""
