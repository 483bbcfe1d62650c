"""How kernels are written, compiled and kept."""
